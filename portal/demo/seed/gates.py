"""Gates, reviews and the service, in the order the story needs: on the evidence the history produced.

What a plant cannot have measured minutes after its first start (uptime, a repair answered live) is waived by name and reason, with an end.
A gate whose evidence does not allow "go" stays open, and the terminal says why.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from portal.core.clock import wall_now
from portal.core.errors import DomainError
from usecases.choices import Decision, GateState
from usecases.domain.gates import CriterionState as State
from usecases.gate_rules import SIGNERS
from usecases.models import Adoption, Gate, UseCase
from usecases.services.decisions import review_decide
from usecases.services.gates import gate_measure, waiver_grant
from usecases.services.reviews import review_open, review_sign

Say = Callable[[str], None]
WAIVERS: dict[str, tuple[str, str, int]] = {
    "trust.budget": ("coe_lead", "Uptime is measured from today on; the budget is judged after the first week.", 14),
    "trust.alert_to_retrain": (
        "coe_lead",
        "Repairs so far were fast-forwarded history; the first live repair is the rehearsal.",
        30,
    ),
    "enable.roi_review": ("coe_lead", "The first quarter under this programme ends soon; the review is prepared.", 60),
}
PREFERRED = {
    "sponsor": "executive",
    "plant_manager": "plant_manager",
    "coe_lead": "coe_lead",
    "edge_architect": "edge_architect",
    "safety_officer": "safety_officer",
}


def _go(gate: Gate, users: dict[str, Any], say: Say) -> bool:
    """Waive what may be waived, freeze, sign, decide. Says in the terminal what keeps it open."""
    gate.refresh_from_db()
    if gate.state in {GateState.PASSED, GateState.CONDITIONAL}:
        return True
    now = wall_now()
    for row in gate_measure(gate=gate, now=now):
        blocking = row.spec.required and row.result.state in {State.NOT_MET, State.NOT_MEASURED, State.SLIPPED}
        if blocking and row.spec.key in WAIVERS:
            role, reason, days = WAIVERS[row.spec.key]
            waiver_grant(
                actor=users[role], gate=gate, key=row.spec.key, reason=reason, expires_at=now + timedelta(days=days)
            )
    try:
        review = review_open(actor=users["coe_lead"], gate=gate)
        for slot in SIGNERS[gate.number]:
            review_sign(actor=users[PREFERRED[slot.key]], review=review, statement="I have read the evidence.")
        last = users[PREFERRED[SIGNERS[gate.number][-1].key]]
        review_decide(actor=last, review=review, decision=Decision.GO, note="On the evidence as frozen.")
    except DomainError as refusal:
        say(f"{gate}: stays open. {refusal.message}")
        return False
    return True


def _gate(number: int, *, use_case: UseCase, adoption: Adoption | None = None) -> Gate:
    return Gate.objects.select_related("use_case", "adoption__site", "adoption__location").get(
        use_case=use_case, adoption=adoption, number=number
    )


def pass_gates(users: dict[str, Any], use_cases: dict[str, UseCase], adoptions: dict[str, Adoption], say: Say) -> None:
    """Gates 1 to 3 of the soft sensor at the turbine; gate 1 of the others as far as their evidence goes."""
    code = "nox-soft-sensor"
    for other in ("gas-path-anomaly", "machine-early-warning"):
        _go(_gate(1, use_case=use_cases[other]), users, _quiet)
    if _go(_gate(1, use_case=use_cases[code]), users, say):
        for number in (2, 3):
            if not _go(_gate(number, use_case=use_cases[code], adoption=adoptions[code]), users, say):
                return


def pass_enabling_gates(
    users: dict[str, Any], use_cases: dict[str, UseCase], adoptions: dict[str, Adoption], say: Say
) -> bool:
    """Gate 4 of the soft sensor, once the reviews are held; True when gate 5 may follow."""
    code = "nox-soft-sensor"
    return _go(_gate(4, use_case=use_cases[code], adoption=adoptions[code]), users, say)


def pass_last_gate(users: dict[str, Any], use_cases: dict[str, UseCase], say: Say) -> bool:
    return _go(_gate(5, use_case=use_cases["nox-soft-sensor"]), users, say)


def _quiet(text: str) -> None:
    """The ideas' gates stay open for reasons their own pages show."""
