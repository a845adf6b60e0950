"""The menu and the site switcher. Apps fill these in ``AppConfig.ready``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.urls import NoReverseMatch, reverse

from portal.core.roles import ROLES, SITE, USE_CASE

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

SECTIONS: tuple[tuple[str, str, int | None], ...] = (
    ("home", "", None),
    ("align", "Align", 1),
    ("architect", "Architect", 2),
    ("operate", "Operate", 3),
    ("enable", "Enable", 4),
    ("monetise", "Monetise", 5),
    ("system", "System", None),
)


#: Sections whose pages are empty for whoever sees neither a site nor a use case: an external partner meets the portal in its last phase.
_INSIDE = frozenset({"home", "align", "architect", "operate", "enable"})


@dataclass(frozen=True)
class NavItem:
    section: str
    label: StrOrPromise
    url_name: str
    icon: str
    order: int = 100
    count: Callable[[Any], int] | None = None


_items: list[NavItem] = []
_site_lister: Callable[[Any], list[dict[str, str]]] | None = None
_banner: Callable[[Any, str | None], str | None] | None = None


def register(*items: NavItem) -> None:
    for item in items:
        if item.section not in {key for key, _, _ in SECTIONS}:
            raise ValueError(f"There is no menu section {item.section!r}.")
        if item not in _items:
            _items.append(item)


def register_site_lister(lister: Callable[[Any], list[dict[str, str]]]) -> None:
    """``lister(user)`` gives ``[{"id", "name"}]`` of the sites the user may see."""
    global _site_lister
    _site_lister = lister


def register_banner(teller: Callable[[Any, str | None], str | None]) -> None:
    """``teller(user, site_id)`` gives the line over every page while a replay is shown, or None."""
    global _banner
    _banner = teller


def banner_of(user: Any, site_id: str | None) -> str | None:
    return _banner(user, site_id) if _banner else None


def sites_of(user: Any) -> list[dict[str, str]]:
    return _site_lister(user) if _site_lister else []


def is_inside(user: Any) -> bool:
    """Whether a role of this person (or having none yet) opens sites or use cases. Asks the roles, not the database."""
    roles = [ROLES[key] for key in user.role_keys if key in ROLES]
    opened = {kind for role in roles for kind in (*role.on, *role.everywhere)}
    return user.is_superuser or not roles or not opened.isdisjoint((SITE, USE_CASE))


def menu(request: Any) -> list[dict[str, Any]]:
    path = request.path
    inside = is_inside(request.user)
    sections = []
    rows = []
    for item in _items:
        try:
            rows.append((item, reverse(item.url_name)))
        except NoReverseMatch:
            continue
    best = max((url for _, url in rows if path == url or (url != "/" and path.startswith(url))), key=len, default="")
    for key, label, phase in SECTIONS:
        items = [
            {
                "label": item.label,
                "url": url,
                "icon": item.icon,
                "active": url == best,
                "count": (item.count(request.user) or None) if item.count else None,
            }
            for item, url in sorted(rows, key=lambda row: (row[0].order, row[0].label))
            if item.section == key
        ]
        if key in _INSIDE and not inside:
            # What waits for this person is theirs to see, whatever it is.
            items = [item for item in items if item["count"]]
        if items:
            sections.append({"key": key, "label": label, "phase": phase, "items": items})
    return sections
