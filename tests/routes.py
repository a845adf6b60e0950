"""Every address of the URLconf, as data for the tests that go over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver

# Shells of other packages and probes that have tests of their own kind, not pages of ours.
FOREIGN = {"docs"}


@dataclass(frozen=True)
class Route:
    """``kind``: page, api, door (own authentication) or open (no sign-in). ``actions``: HTTP method -> viewset action."""

    name: str
    path: str
    kind: str
    view: Any
    params: tuple[str, ...] = ()
    actions: dict[str, str] = field(default_factory=dict)

    @property
    def basename(self) -> str:
        return str(self.initkwargs.get("basename", ""))

    @property
    def initkwargs(self) -> dict[str, Any]:
        return getattr(self.view, "initkwargs", {}) or {}

    @property
    def cls(self) -> Any:
        return getattr(self.view, "cls", None) or getattr(self.view, "view_class", None)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that the view itself answers, without HEAD and OPTIONS."""
        if self.actions:
            return tuple(self.actions)
        names = ("get", "post", "put", "patch", "delete")
        if self.cls is None:
            return ("get", "post")
        return tuple(name for name in names if hasattr(self.cls, name))

    def __hash__(self) -> int:
        return hash((self.name, self.path))


def _kind(path: str, module: str) -> str:
    path = path.lstrip("^")
    if path.startswith("api/v1/"):
        return "api"
    if path.startswith(("edge/", "services/")) and not module.endswith("views"):
        return "door"
    if path.startswith(("healthz", "readyz", "metrics", "api/", "account/", "i18n/")):
        return "open"
    return "page"


def _walk(resolver: Any, path: str, names: tuple[str, ...], params: tuple[str, ...]) -> list[Route]:
    found: list[Route] = []
    for entry in resolver.url_patterns:
        here = path + str(entry.pattern)
        more = params + tuple(entry.pattern.regex.groupindex)
        if isinstance(entry, URLResolver):
            found += _walk(entry, here, names + ((entry.namespace,) if entry.namespace else ()), more)
        elif isinstance(entry, URLPattern):
            view = entry.callback
            actions = getattr(view, "actions", None) or {}
            name = ":".join([*names, entry.name or here])
            found.append(Route(name, here, _kind(here, getattr(view, "__module__", "")), view, more, dict(actions)))
    return found


@cache
def all_routes() -> tuple[Route, ...]:
    return tuple(_walk(get_resolver(), "", (), ()))


def routes(*kinds: str) -> list[Route]:
    return [route for route in all_routes() if route.kind in kinds]


def viewsets() -> dict[str, Any]:
    """Basename -> viewset class of every resource of /api/v1."""
    return {
        route.name.split(":")[1].removesuffix("-list"): route.cls
        for route in routes("api")
        if route.name.endswith("-list")
    }
