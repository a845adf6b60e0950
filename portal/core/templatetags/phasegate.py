"""Template helpers: numbers with units, ages, and looking things up."""

from __future__ import annotations

import json
import math
from datetime import datetime
from functools import cache
from typing import Any

from django import template
from django.apps import apps
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from portal.core.api.renderers import dumps
from portal.core.clock import moment_text, rfc3339, wall_now

register = template.Library()


@cache
def _kinds() -> dict[str, str]:
    """A model's code -> its name, where that is more than one word: "scoringround" is a scoring round."""
    named = {model._meta.model_name: str(model._meta.verbose_name) for model in apps.get_models()}
    return {str(code): name for code, name in named.items() if " " in name}


@register.filter
def deed(action: str) -> str:
    """The code of an audited action in words: "model.standing_approval" reads "Model: standing approval"."""
    noun, _, verb = action.partition(".")
    words = [part.replace("_", " ").strip() for part in (_kinds().get(noun, noun) if verb else noun, verb)]
    return ": ".join(word for word in (words[0].capitalize(), words[1]) if word)


@register.filter
def plainly(value: Any) -> Any:
    """A value out of the audit trail: a moment reads as every page writes it, a number without the digits that only a computer
    adds, anything else as it is."""
    if isinstance(value, float):
        return f"{value:,.10g}"
    if isinstance(value, str) and len(value) > 18 and value[4:5] == "-" and value[10:11] in {"T", " "}:
        try:
            return moment_text(datetime.fromisoformat(value))
        except ValueError:
            return value
    return value


@register.filter
def quantity(value: Any, digits: int = 3) -> str:
    """A number with ``digits`` significant digits; a dash when there is none."""
    if value is None or value == "" or value != value:
        return "–"
    number = float(value)
    if number == 0:
        return "0"
    exponent = math.floor(math.log10(abs(number)))
    if exponent < -4:
        return f"{number:.{digits - 1}e}"
    return f"{number:,.{max(0, digits - 1 - exponent)}f}"


@register.filter
def percent(value: Any, digits: int = 0) -> str:
    return "–" if value is None else f"{100 * float(value):.{digits}f} %"


@register.filter
def money(value: Any, currency: str = "EUR") -> str:
    return "–" if value is None else f"{float(value):,.0f} {currency}"


@register.filter
def age(value: datetime | None) -> SafeString | str:
    """How long ago, in words, with the exact UTC time on hover."""
    if value is None:
        return "–"
    seconds = (wall_now() - value).total_seconds()
    return format_html(
        '<time datetime="{}" title="{} UTC" data-age>{}</time>',
        rfc3339(value),
        moment_text(value, seconds=True),
        ago(seconds),
    )


def ago(seconds: float) -> str:
    future = seconds < 0
    span = duration(abs(seconds))
    if abs(seconds) < 5:
        return "now"
    return f"in {span}" if future else f"{span} ago"


@register.filter
def duration(seconds: Any) -> str:
    """A span in the two largest units that matter."""
    if seconds is None:
        return "–"
    left = round(float(seconds))
    if left < 60:
        return f"{left} s"
    if left < 3600:
        return f"{left // 60} min" + (f" {left % 60} s" if left < 600 and left % 60 else "")
    if left < 86_400:
        return f"{left // 3600} h" + (f" {left % 3600 // 60} min" if left % 3600 // 60 else "")
    return f"{left // 86_400} d" + (f" {left % 86_400 // 3600} h" if left < 864_000 and left % 86_400 // 3600 else "")


@register.filter
def plant(value: datetime | None) -> SafeString | str:
    """A moment of plant time, marked as such."""
    if value is None:
        return "–"
    return format_html(
        '<time datetime="{}" class="pg-plant-time" title="Plant time">{}</time>',
        rfc3339(value),
        moment_text(value),
    )


@register.filter
def get(mapping: Any, key: Any) -> Any:
    return mapping.get(key) if hasattr(mapping, "get") else None


@register.filter
def as_json(value: Any) -> SafeString:
    """JSON for a script block of type application/json."""
    text = dumps(value).decode().replace("<", "\\u003C").replace(">", "\\u003E").replace("&", "\\u0026")
    return mark_safe(text)  # noqa: S308


@register.filter
def pretty(value: Any) -> str:
    return json.dumps(json.loads(dumps(value)), indent=2, ensure_ascii=False)


@register.simple_tag(takes_context=True)
def panel(context: Any, item: dict[str, Any]) -> str:
    """Renders one panel of a detail page with its own context."""
    request = context.get("request")
    return render_to_string(
        item["template"],
        {"object": context.get("object"), "request": request, "user": getattr(request, "user", None)} | item["context"],
    )
