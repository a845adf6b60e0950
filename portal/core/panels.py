"""Panels: what a higher app shows on a lower app's detail page (the models on a device, the SLOs of a use case)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


@dataclass(frozen=True)
class Panel:
    """``context(user, obj)`` gives the template's context, or None when the panel has nothing to say for this object."""

    model: str
    key: str
    title: StrOrPromise
    template: str
    context: Callable[[Any, Any], dict[str, Any] | None]
    order: int = 100


_panels: list[Panel] = []


def register(panel: Panel) -> None:
    if not any(p.model == panel.model and p.key == panel.key for p in _panels):
        _panels.append(panel)


def shown(user: Any, obj: Any) -> list[dict[str, Any]]:
    """The panels that have something to say, as ``{"key", "title", "template", "context"}``."""
    found = ((panel, panel.context(user, obj)) for panel in panels_for(obj))
    return [
        {"key": panel.key, "title": panel.title, "template": panel.template, "context": context}
        for panel, context in found
        if context is not None
    ]


def panels_for(obj: Any) -> list[Panel]:
    label = f"{obj._meta.app_label}.{type(obj).__name__}"
    return sorted((p for p in _panels if p.model == label), key=lambda p: (p.order, p.key))
