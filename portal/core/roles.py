"""The roles and what each may do on each kind of container. docs/permissions.md shows the same table; a test compares them.

A role is an auth group. On a container (Site, UseCase, Service) a person gets the verbs below through object permissions;
a role with ``everywhere`` verbs has them on every container through the group's own permissions.
"""

from dataclasses import dataclass, field

SITE = "devices.Site"
USE_CASE = "usecases.UseCase"
SERVICE = "marketplace.Service"

VERBS: dict[str, tuple[str, ...]] = {
    SITE: ("view", "change", "enrol", "operate", "stop", "review", "sign"),
    USE_CASE: ("view", "change", "rate", "sign"),
    SERVICE: ("view", "change", "use"),
}


@dataclass(frozen=True)
class Role:
    key: str
    label: str
    on: dict[str, tuple[str, ...]] = field(default_factory=dict)
    everywhere: dict[str, tuple[str, ...]] = field(default_factory=dict)
    extra: tuple[str, ...] = ()


_ALL_VIEW: dict[str, tuple[str, ...]] = {SITE: ("view",), USE_CASE: ("view",), SERVICE: ("view",)}

ROLES: dict[str, Role] = {
    role.key: role
    for role in (
        Role(
            "plant_manager",
            "Plant manager",
            on={SITE: ("view", "stop", "review", "sign"), USE_CASE: ("view", "rate", "sign")},
        ),
        Role(
            "ot_engineer",
            "OT engineer",
            on={SITE: ("view", "change", "enrol", "operate", "stop", "review"), USE_CASE: ("view", "rate")},
        ),
        Role(
            "data_scientist",
            "Data scientist",
            on={SITE: ("view", "operate", "review"), USE_CASE: ("view", "change", "rate"), SERVICE: ("view",)},
        ),
        Role(
            "edge_architect",
            "Edge Integration Architect",
            on={SITE: ("view", "change", "enrol", "operate", "stop", "sign"), USE_CASE: ("view", "rate")},
        ),
        Role(
            "data_steward",
            "Industrial Data Steward",
            on={SITE: ("view", "change", "review", "sign"), USE_CASE: ("view", "rate")},
        ),
        Role(
            "safety_officer",
            "AI Safety Officer",
            on={SITE: ("view", "stop", "review", "sign"), USE_CASE: ("view", "rate", "sign")},
        ),
        Role(
            "coe_lead",
            "CoE lead",
            everywhere={
                SITE: ("view", "change", "review", "sign"),
                USE_CASE: ("view", "change", "rate", "sign"),
                SERVICE: ("view", "change"),
            },
            extra=(
                "core.view_audit",
                "core.manage_users",
                "usecases.add_usecase",
                "devices.add_site",
                "marketplace.add_service",
                "coe.manage_people",
            ),
        ),
        Role("executive", "Executive sponsor", everywhere=_ALL_VIEW, on={USE_CASE: ("sign",)}),
        Role("integrator", "Integrator", on={SITE: ("view", "change"), USE_CASE: ("view", "change")}),
        Role("external_partner", "External partner", on={SERVICE: ("view", "use")}),
    )
}


def roles_that_may(container: str, verb: str) -> list[str]:
    """Labels of the roles that may do ``verb`` on containers of this kind (for the sentence of a 403)."""
    return [
        role.label
        for role in ROLES.values()
        if verb in role.on.get(container, ()) or verb in role.everywhere.get(container, ())
    ]
