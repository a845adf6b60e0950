"""What the marketplace shows on the use case's page."""

from __future__ import annotations

from typing import Any

from marketplace.selectors import catalogue
from portal.core.panels import Panel, register


def services_of(user: Any, use_case: Any) -> dict[str, Any] | None:
    rows = list(catalogue(user).filter(use_case=use_case)[:20])
    may_add = user.has_perm("marketplace.add_service")
    if not rows and not (may_add and use_case.pursue_monetisation):
        return None
    return {"services": rows, "may_add": may_add}


def register_all() -> None:
    register(
        Panel("usecases.UseCase", "services", "Services", "marketplace/_services_panel.html", services_of, order=80)
    )
