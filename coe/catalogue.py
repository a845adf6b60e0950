"""The CoE roles, what each signs, and which portal roles sign without an appointment. docs/coe.md shows the same table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from usecases.gate_rules import SIGNERS

GATES: Final = tuple(f"gate_{number}" for number in sorted(SIGNERS))
KINDS: Final = (*GATES, "model_version", "rollout", "waiver", "safety_waiver")

#: An interim appointment bootstraps the first signers; it lasts this long at most.
LONGEST_INTERIM: Final = timedelta(days=180)
#: A certificate is shown as expiring, and its holder reminded, this long before its end.
REMIND_BEFORE: Final = (timedelta(days=30), timedelta(days=7))


@dataclass(frozen=True)
class RoleDefinition:
    """``key`` is also the key of the portal role (an auth group) that gives such a person access to pages."""

    key: str
    name: str
    description: str
    signs: tuple[str, ...]


ROLES: Final = (
    RoleDefinition(
        "edge_architect",
        "Edge Integration Architect",
        "Answers for how models reach the machines: conformance of a site's devices and gateways to the three layers, "
        "protocols, and rollouts in waves.",
        ("gate_2", "rollout"),
    ),
    RoleDefinition(
        "data_steward",
        "Industrial Data Steward",
        "Answers for the data: schemas, checks at each stage, lineage from the sensor to the prediction, and what a "
        "baseline was measured from.",
        ("gate_3",),
    ),
    RoleDefinition(
        "safety_officer",
        "AI Safety Officer",
        "Answers for what a model may do at a machine: signs model versions and rollouts, waives a safety criterion, and "
        "can stop either.",
        ("model_version", "rollout", "safety_waiver", "gate_3"),
    ),
)

#: Portal roles that sign by themselves: a plant's manager and a sponsor its gates, the CoE lead also waivers.
_COE_KEYS: Final = {role.key for role in ROLES}
PORTAL_SIGNERS: Final[dict[str, frozenset[str]]] = {
    **{
        f"gate_{number}": frozenset().union(*(slot.roles for slot in slots)) - _COE_KEYS
        for number, slots in SIGNERS.items()
    },
    "waiver": frozenset({"coe_lead"}),
}
#: Gates that the use case's sponsor signs whatever his role.
SPONSOR_SIGNS: Final = frozenset(f"gate_{n}" for n, slots in SIGNERS.items() if any(slot.sponsor for slot in slots))

WORDS: Final = {
    "model_version": "a model version",
    "rollout": "a rollout",
    "waiver": "a waiver",
    "safety_waiver": "a waiver of a safety criterion",
    **{kind: kind.replace("_", " ") for kind in GATES},
}
