"""The demo's people: one for each role, with a password and an API token made at first start."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from portal.core.models import ApiToken, User
from portal.core.roles import ROLES
from portal.core.tokens import token_create

DOMAIN = "demo.phasegate.local"
NAMES = {
    "plant_manager": "Petra Malik",
    "ot_engineer": "Omar Tesfaye",
    "data_scientist": "Dana Sato",
    "edge_architect": "Elif Arslan",
    "data_steward": "Dirk Steen",
    "safety_officer": "Sofia Okafor",
    "coe_lead": "Carla Lindqvist",
    "executive": "Edmund Weber",
    "integrator": "Ines Gomez",
    "external_partner": "Paul Expo",
}
ORGANISATIONS = {"external_partner": "Northwind Emissions GmbH"}


@dataclass(frozen=True)
class Person:
    role: str
    user: User
    password: str
    token: str


def email_of(role: str) -> str:
    return f"{role.replace('_', '-')}@{DOMAIN}"


def make_people() -> dict[str, Person]:
    """The cast by role. Password and token exist only here and in the file that the demo keeps beside its data (mode 600)."""
    password = "-".join(secrets.choice(_WORDS) for _ in range(3)) + f"-{secrets.randbelow(90) + 10}"
    people: dict[str, Person] = {}
    for role in ROLES:
        user = User.objects.filter(email=email_of(role)).first() or User.objects.create_user(
            email_of(role), password, name=NAMES[role], organisation=ORGANISATIONS.get(role, "Phasegate demo company")
        )
        user.set_password(password)
        user.save(update_fields=["password"])
        ApiToken.objects.filter(user=user, name="demo").delete()
        _token, secret = token_create(actor=user, name="demo", scopes=["read", "write"])
        people[role] = Person(role, user, password, secret)
    return people


def users(people: dict[str, Person]) -> dict[str, Any]:
    return {role: person.user for role, person in people.items()}


_WORDS = [
    "amber",
    "anvil",
    "basin",
    "beacon",
    "birch",
    "brass",
    "canyon",
    "cedar",
    "cobalt",
    "copper",
    "coral",
    "delta",
    "ember",
    "fjord",
    "flint",
    "garnet",
    "granite",
    "harbor",
    "hazel",
    "heron",
    "indigo",
    "jasper",
    "juniper",
    "kelp",
    "lagoon",
    "lantern",
    "larch",
    "linden",
    "magnet",
    "maple",
    "marble",
    "meadow",
    "mesa",
    "nickel",
    "oasis",
    "ochre",
    "onyx",
    "orchid",
    "otter",
    "pebble",
    "pine",
    "quartz",
    "raven",
    "reef",
    "ridge",
    "river",
    "rowan",
    "sable",
    "sierra",
    "slate",
    "spruce",
    "summit",
    "teal",
    "thistle",
    "timber",
    "topaz",
    "tundra",
    "umber",
    "valley",
    "walnut",
    "willow",
    "zephyr",
]
