"""The tables that decide about gates: who signs, who rates, which states may do what. docs/gates.md shows the same tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import permutations
from typing import Any, Final

from django.utils.translation import gettext_lazy as _

from usecases.choices import GateState, Scope


@dataclass(frozen=True)
class SignerSlot:
    """One signature a gate needs; any of the roles fills it. ``sponsor``: so does the use case's sponsor."""

    key: str
    label: Any
    roles: frozenset[str]
    sponsor: bool = False


_SPONSOR = SignerSlot("sponsor", _("Sponsor or plant manager"), frozenset({"executive", "plant_manager"}), sponsor=True)
_MANAGER = SignerSlot("plant_manager", _("Plant manager"), frozenset({"plant_manager"}))
_LEAD = SignerSlot("coe_lead", _("CoE lead"), frozenset({"coe_lead"}))
_ARCHITECT = SignerSlot(
    "edge_architect", _("Edge Integration Architect or CoE lead"), frozenset({"edge_architect", "coe_lead"})
)
_SAFETY = SignerSlot("safety_officer", _("AI Safety Officer"), frozenset({"safety_officer"}))

SIGNERS: Final[dict[int, tuple[SignerSlot, ...]]] = {
    1: (_SPONSOR, _LEAD),
    2: (_MANAGER, _ARCHITECT),
    3: (_MANAGER, _SAFETY),
    4: (_MANAGER, _LEAD),
    5: (_SPONSOR, _LEAD),
}

#: Roles whose answer a scoring round needs on every criterion before gate 1 believes it, and how many of each.
RATERS: Final[dict[str, int]] = {"plant_manager": 1, "ot_engineer": 1, "data_scientist": 1}
#: How much each role's mean weighs in the group's value; a role that is not listed weighs 1.
RATER_WEIGHTS: Final[dict[str, float]] = {}

#: Gates of the use case and of an adoption.
USE_CASE_GATES: Final = (1, 5)
ADOPTION_GATES: Final = (2, 3, 4)

PASSED: Final = (GateState.PASSED, GateState.CONDITIONAL)
#: From these a review can be opened.
REVIEWABLE: Final = (GateState.OPEN, GateState.HELD, GateState.REOPENED, GateState.CONDITIONAL)
#: These are still measured; the others are over.
MEASURED: Final = (*REVIEWABLE, GateState.PASSED, GateState.CLOSED)

#: The scope that must be proven before this one, and the gate that proves it.
PROVEN_SCOPE: Final[dict[str, str | None]] = {Scope.CELL: None, Scope.LINE: Scope.CELL, Scope.PLANT: Scope.LINE}
PROVING_GATE: Final = 3

#: How long the conditions of a conditional go may stay open when the decision names no date.
CONDITION_SPAN: Final = timedelta(days=30)
#: A waiver never outlives this.
LONGEST_WAIVER: Final = timedelta(days=365)

#: What a reopened gate stops and what it does not, by number; said on its page and to everybody who is told.
_GOES_ON: Final = _("Repairs by retraining still go out. What runs keeps serving and is shown as “watch”.")
_STOPS_HERE: Final = _("A reopened gate stops new rollouts by hand and later gates here.")
WHAT_REOPENING_DOES: Final[dict[int, tuple[Any, Any]]] = {
    1: (_("A reopened gate stops new rollouts by hand and later gates of this use case, at every site."), _GOES_ON),
    2: (_STOPS_HERE, _GOES_ON),
    3: (_STOPS_HERE, _GOES_ON),
    4: (
        _("A reopened gate stops new rollouts by hand here, and gate 5 unless another site has passed its gate 4."),
        _GOES_ON,
    ),
    5: (
        _("A reopened gate stops publishing its service anew. Rollouts and repairs go on."),
        _("What runs keeps serving and is shown as “watch”."),
    ),
}


@dataclass(frozen=True)
class Signed:
    """A signature as the slots see it: who, with which roles, for or against."""

    user_id: Any
    roles: frozenset[str]
    approves: bool
    sponsor: bool = False


def slots_filled(gate: int, signatures: Iterable[Signed]) -> dict[str, Any]:
    """Slot key -> id of the person who fills it (None: still missing). One person fills one slot only."""
    slots = SIGNERS[gate]
    people = [s for s in signatures if s.approves]

    def fits(slot: SignerSlot, signed: Signed) -> bool:
        return bool(slot.roles & signed.roles) or (slot.sponsor and signed.sponsor)

    best: dict[str, Any] = {slot.key: None for slot in slots}
    # At most a handful of signatures meet two or three slots: trying every order is exact and quick.
    candidates = people[:6] + [None] * len(slots)
    for order in permutations(range(len(candidates)), len(slots)):
        trial = {
            slot.key: (person.user_id if (person := candidates[at]) is not None and fits(slot, person) else None)
            for slot, at in zip(slots, order, strict=True)
        }
        if sum(v is not None for v in trial.values()) > sum(v is not None for v in best.values()):
            best = trial
    return best
