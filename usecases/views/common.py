"""What the pages of use cases share: an ETag for polled parts, and forms that keep what was typed on refusal."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from portal.core.api.renderers import dumps


def etag_of(data: Any) -> str:
    return f'"{hashlib.blake2b(dumps(data), digest_size=12).hexdigest()}"'


def polled(request: HttpRequest, template: str, context: dict[str, Any], about: Any) -> HttpResponse:
    """The part, or 304 when ``about`` (plain data) is what the page has already."""
    tag = etag_of(about)
    headers = {"ETag": tag, "Cache-Control": "no-cache, private"}
    if tag in {t.strip().removeprefix("W/") for t in request.headers.get("If-None-Match", "").split(",")}:
        return HttpResponse(status=304, headers=headers)
    return HttpResponse(render_to_string(template, context, request), headers=headers)
