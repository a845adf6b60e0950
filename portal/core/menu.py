"""The core's own menu entries."""

from portal.core.navigation import NavItem, register


def register_all() -> None:
    register(
        NavItem("system", "Audit trail", "core:audit", "audit", 10),
        NavItem("system", "Settings", "core:settings", "settings", 20),
    )
