"""One search box for every kind of object. Each app registers its kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


@dataclass(frozen=True)
class Hit:
    kind: StrOrPromise
    title: str
    url: str
    subtitle: str = ""
    icon: str = "file"


@dataclass(frozen=True)
class SearchKind:
    key: str
    label: StrOrPromise
    find: Callable[[Any, str, int], list[Hit]]
    order: int = 100


_kinds: dict[str, SearchKind] = {}


def register(kind: SearchKind) -> None:
    _kinds[kind.key] = kind


def register_model(
    *,
    key: str,
    label: StrOrPromise,
    model: Any,
    fields: tuple[str, ...],
    url_name: str,
    icon: str,
    subtitle: str = "",
    order: int = 100,
) -> None:
    """The usual case: rows whose ``fields`` contain the text; the address is ``url_name`` with the row's key."""
    from django.db.models import Q
    from django.urls import reverse

    def find(user: Any, text: str, limit: int) -> list[Hit]:
        wanted = Q()
        for name in fields:
            wanted |= Q(**{f"{name}__icontains": text})
        rows = model.objects.permitted(user).filter(wanted)[:limit]
        return [
            Hit(
                label,
                str(row),
                reverse(url_name, args=[row.pk]),
                str(getattr(row, subtitle, "") or "") if subtitle else "",
                icon,
            )
            for row in rows
        ]

    register(SearchKind(key, label, find, order))


def search(user: Any, text: str, limit: int = 8) -> list[tuple[SearchKind, list[Hit]]]:
    """Hits by kind, kinds without a hit left out. Fewer than two letters find nothing."""
    text = text.replace("\0", "").strip()
    if len(text) < 2:
        return []
    found = [(kind, kind.find(user, text, limit)) for kind in sorted(_kinds.values(), key=lambda k: (k.order, k.label))]
    return [(kind, hits) for kind, hits in found if hits]
