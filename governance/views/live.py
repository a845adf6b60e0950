"""What the live parts of a page share: a partial or a figure with an ETag of what it shows."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.translation import gettext as _

from portal.core.api.renderers import dumps
from portal.core.clock import moment_text
from portal.core.templatetags.phasegate import plant


def etag_of(body: bytes) -> str:
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def answer(request: HttpRequest, body: bytes, content_type: str) -> HttpResponse:
    """The body, or 304 when the browser shows it already."""
    etag = etag_of(body)
    if etag in {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}:
        response = HttpResponse(status=304)
    else:
        response = HttpResponse(body, content_type=content_type)
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    return response


def json_answer(request: HttpRequest, data: Any) -> HttpResponse:
    return answer(request, dumps(data), "application/json")


def fragment(request: HttpRequest, template: str, context: dict[str, Any]) -> dict[str, str]:
    """The rendered partial and its ETag, for the first page; the same text that a poll would get."""
    html = render_to_string(template, context | {"user": request.user})
    return {"html": html, "etag": etag_of(html.encode())}


def link(obj: Any, label: Any = None) -> Any:
    """An object as a link to its page; nothing for None."""
    if obj is None:
        return ""
    return format_html('<a href="{}">{}</a>', obj.get_absolute_url(), obj if label is None else label)


def plant_fact(moment: Any) -> Any:
    """A moment of plant time that says so beside it."""
    if moment is None:
        return ""
    return format_html('{} <span class="pg-quiet pg-small">{}</span>', plant(moment), _("plant time"))


def wall_fact(moment: Any) -> Any:
    if moment is None:
        return ""
    return format_html(
        '{} <span class="pg-quiet pg-small">{}</span>', f"{moment_text(moment, seconds=True)} UTC", _("wall time")
    )
