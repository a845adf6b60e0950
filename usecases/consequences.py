"""What each decision does, said before somebody takes it."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal.core.clock import day_text
from usecases.choices import Decision, GateState, Phase
from usecases.gate_rules import WHAT_REOPENING_DOES
from usecases.models import Adoption, Gate, GateReview
from usecases.services.decisions import labels, why_not
from usecases.services.gates import decisions_allowed
from usecases.services.reviews import gate_in_the_way, passed_first


def _forward(gate: Gate) -> list[str]:
    """What a passed gate moves."""
    use_case = gate.use_case
    if gate.number == Phase.ALIGN:
        waiting = Adoption.objects.filter(use_case=use_case, phase=Phase.ALIGN).count()
        many = ngettext("%d adoption moves", "%d adoptions move", waiting) % waiting
        moved = _("%(many)s to phase 2 with it, and gate 2 of each opens.") % {"many": many}
        return [_("The use case moves to phase 2, Architect."), moved if waiting else _("It can be adopted at sites.")]
    if gate.number == Phase.MONETISE:
        return [_("Its service may be published and sold. Phase 5 is the last.")]
    words = {"what": gate.adoption, "n": gate.number + 1, "phase": Phase(gate.number + 1).label}
    moved = _("%(what)s moves to phase %(n)s, %(phase)s.") % words
    if gate.number in (Phase.ARCHITECT, Phase.OPERATE):
        return [moved, _("Gate %(n)s opens there; other sites run their own gates.") % words]
    if not use_case.pursue_monetisation:
        return [moved, _("Phase 5 is not pursued: the use case is finished.")]
    return [moved, _("Gate 5 of the use case opens.")]


def _kill(gate: Gate) -> list[str]:
    over = [_("The gate is over for good; it cannot be undone, and its name must be typed.")]
    if gate.adoption is None:
        over.append(
            _("The use case is killed: it leaves the scale map and the portfolio, and no site can adopt it any more.")
        )
    else:
        over.append(_("%(what)s ends here; other sites go on.") % {"what": gate.adoption})
    return [*over, _("Services that run keep serving until somebody stops them.")]


def effects(gate: Gate, still_open: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """By decision: what happens, in sentences."""
    forward = _forward(gate)
    named = labels(still_open) or _("what you write down")
    hold = [_("Nothing moves. The evidence goes on being measured, and “Resume” ends the hold.")]
    if gate.number == Phase.ALIGN:
        hold.append(_("The use case is on hold until then."))
    return {
        Decision.GO: [_("The gate is passed."), *forward],
        Decision.CONDITIONAL_GO: [
            _("The same as go, but this stays open, each with an owner and a date: %(what)s.") % {"what": named},
            _("Once everything is met the gate is passed. What is still open on its date reopens the gate by itself."),
            str(WHAT_REOPENING_DOES[gate.number][0]),
        ],
        Decision.HOLD: hold,
        Decision.RECYCLE: [
            _("The gate stays open and goes back to work in phase %(n)s, with a list of what to redo.")
            % {"n": gate.number},
            _("The signatures of this review are spent: a new review freezes new evidence."),
        ],
        Decision.KILL: _kill(gate),
    }


def options(review: GateReview) -> list[dict[str, Any]]:
    """The five decisions with what the frozen evidence and the earlier gates allow, and what each would do."""
    allowed = decisions_allowed(review.snapshot)
    conditional = next(o for o in allowed if o.decision == Decision.CONDITIONAL_GO.value)
    does = effects(review.gate, conditional.criteria if conditional.allowed else ())
    before = gate_in_the_way(review.gate)
    found = []
    for o in allowed:
        decision = Decision(str(o.decision))
        waits = before is not None and decision in {Decision.GO, Decision.CONDITIONAL_GO}
        why = passed_first(before) if waits and before is not None else ""
        found.append(
            {
                "value": decision.value,
                "label": decision.label,
                "allowed": o.allowed and not why,
                "why": why_not(o) if not o.allowed else why,
                "effects": does[decision],
            }
        )
    return found


def open_conditions(review: GateReview) -> list[str]:
    """Keys that a conditional go would leave open."""
    found = next(o for o in decisions_allowed(review.snapshot) if o.decision == Decision.CONDITIONAL_GO.value)
    return list(found.criteria) if found.allowed else []


def standing(gate: Gate, review: GateReview | None) -> str:
    """Where the gate stands, and what would move it, in one sentence."""
    if gate.state == GateState.HELD:
        return _("On hold: nothing moves until somebody resumes it.")
    if gate.state == GateState.CONDITIONAL and review is not None and review.conditions_due is not None:
        return _("Passed with conditions; the first is due on %(day)s. Open then, it reopens the gate.") % {
            "day": day_text(review.conditions_due.date())
        }
    if gate.state == GateState.KILLED:
        return _("Killed: over for good.")
    return ""
