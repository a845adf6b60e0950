"""Reads across relations of use cases, gates and their evidence."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.db.models import Case, CharField, Exists, OuterRef, Prefetch, Q, QuerySet, Value, When
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core.clock import moment_text, wall_now
from usecases import evidence as registry
from usecases import measuring
from usecases.choices import Comparator, CriterionState, GateState, Phase, ReviewState, UseCaseState
from usecases.gate_rules import MEASURED, PASSED, SIGNERS
from usecases.models import Adoption, Evidence, Gate, GateCondition, GateReview, UseCase, Waiver

#: Where a bullet bar draws its threshold, in percent of its width.
_MARK = 72.0


def use_cases_with_gates(user: Any) -> QuerySet[UseCase]:
    return (
        UseCase.objects.permitted(user)
        .select_related("sponsor", "owner", "business_case")
        .prefetch_related(Prefetch("gates", queryset=Gate.objects.order_by("number")))
    )


def gate_for(*, use_case: Any = None, adoption: Any = None, number: int) -> Gate | None:
    """The one gate with this number of a use case (1, 5) or an adoption (2, 3, 4)."""
    if number in (1, 5):
        return Gate.objects.filter(use_case=use_case, adoption=None, number=number).first()
    return Gate.objects.filter(adoption=adoption, number=number).first()


def gate_passed(gate: Gate | None) -> bool:
    return gate is not None and gate.state in PASSED


def gates_alive(gates: QuerySet[Gate]) -> QuerySet[Gate]:
    """Without those of a killed use case or adoption: they are over whatever their own state."""
    return gates.exclude(use_case__state=UseCaseState.KILLED).exclude(adoption__gates__state=GateState.KILLED)


def gates_stopping_rollouts(adoption: Adoption) -> QuerySet[Gate]:
    """Gates of an adoption and of its use case for which new rollouts wait: reopened or killed. What runs keeps running.

    Gate 5 reopened is about selling the service: it stops no rollout.
    """
    mine = Q(adoption=adoption) | Q(adoption=None, use_case=adoption.use_case_id)
    stops = Q(state=GateState.KILLED) | Q(state=GateState.REOPENED, number__lt=Phase.MONETISE)
    return Gate.objects.filter(mine, stops).order_by("number")


def adoptions_at(user: Any, site: Any) -> QuerySet[Adoption]:
    return Adoption.objects.permitted(user).filter(site=site).select_related("use_case", "site", "location")


def with_health(adoptions: QuerySet[Any]) -> QuerySet[Any]:
    """Annotates ``health`` (ok, watch, breach or unknown), from the states of the gates and their current evidence.

    breach: a gate is reopened; watch: a passed gate has something slipped or waived; unknown: no gate passed yet.
    """
    gates = Gate.objects.filter(adoption=OuterRef("pk")).order_by()
    doubtful = Evidence.objects.filter(
        current=True,
        gate__adoption=OuterRef("pk"),
        gate__state__in=PASSED,
        state__in=[CriterionState.SLIPPED, CriterionState.WAIVED, CriterionState.NOT_MET],
    )
    return adoptions.annotate(
        health=Case(
            When(Exists(gates.filter(state=GateState.REOPENED)), then=Value("breach")),
            When(~Exists(gates.filter(state__in=PASSED)), then=Value("unknown")),
            When(Exists(doubtful.order_by()), then=Value("watch")),
            default=Value("ok"),
            output_field=CharField(),
        )
    )


def adoption_health(adoptions: Iterable[Adoption]) -> dict[Any, str]:
    """The health of adoptions that were read without it, by id; one query."""
    rows = Adoption.objects.filter(pk__in=[a.pk for a in adoptions]).order_by()
    return dict(with_health(rows).values_list("pk", "health"))


def stepper(gates: Iterable[Gate], current_phase: int) -> list[dict[str, Any]]:
    """Steps of the gate stepper, in the order of the gates."""
    return [
        {
            "phase": gate.number,
            "label": Phase(gate.number).label,
            "state": gate.tone,
            "state_label": gate.get_state_display(),
            "url": gate.get_absolute_url(),
            "current": gate.number == current_phase,
        }
        for gate in gates
    ]


def threshold_text(spec: registry.CriterionSpec) -> str:
    if spec.comparator == Comparator.TRUE:
        return ""
    return f"{Comparator(spec.comparator).label} {_with_unit(spec.threshold, spec.unit)}".strip()


def age_limit_text(spec: registry.CriterionSpec) -> str:
    """How old its number may be; empty where any age counts."""
    return _age_limit(spec.max_age.total_seconds() if spec.max_age is not None else None)


def _age_limit(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 48 * 3600:
        return _("at most %(n)g h old") % {"n": seconds / 3600}
    return _("at most %(n)d days old") % {"n": seconds // 86400}


def _moment_of(said: str | None) -> str:
    """A moment as the snapshot holds it, as every page writes it."""
    return f"{moment_text(datetime.fromisoformat(said).astimezone(UTC))} UTC" if said else ""


def _shown(value: Any) -> Any:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, (int, float)):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return value


def _plain(value: Any, unit: str) -> tuple[Any, str]:
    """A number and its unit as people say them: a share in percent, long times in minutes or hours."""
    if isinstance(value, bool):
        return _shown(value), ""
    if isinstance(value, (int, float)):
        if unit == "share":
            return _shown(100 * value), "%"
        if unit == "s" and abs(value) >= 120:
            return (_shown(value / 3600), "h") if abs(value) >= 3600 else (_shown(value / 60), "min")
    return _shown(value), unit


def _with_unit(value: Any, unit: str) -> str:
    return " ".join(str(part) for part in _plain(value, unit)).strip()


def _sentence(text: Any) -> str:
    said = str(text).rstrip()
    return said if said.endswith((".", "!", "?", "…")) else f"{said}."


def _bar(spec: registry.CriterionSpec, value: Any) -> tuple[float | None, float | None]:
    """Positions 0..100 of the value and the threshold on the bullet bar; None where a bar would say nothing."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isinstance(spec.threshold, (int, float)):
        return None, None
    limit = float(spec.threshold)
    whole = {"%": 100.0, "share": 1.0}.get(spec.unit)
    if whole is not None and 0 <= value <= whole and 0 <= limit <= whole:
        return 100 * float(value) / whole, 100 * limit / whole
    if limit == 0:
        return (100.0 if value > 0 else 8.0), 50.0
    return max(0.0, min(100.0, _MARK * float(value) / limit)), _MARK


def evidence_rows(gate: Gate, *, may_waive: bool = False) -> list[dict[str, Any]]:
    """What the evidence rows of a gate page show, in the order of the criteria (two queries)."""
    known = measuring.current_rows(gate)
    waivers = measuring.waivers_in_force([gate], wall_now())
    rows = []
    for spec in registry.specs_for(gate.number):
        found = known.get(spec.key)
        rows.append(_row(gate, spec, found, waivers.get((gate.pk, spec.key)), may_waive))
    return rows


def _row(
    gate: Gate, spec: registry.CriterionSpec, found: Evidence | None, waiver: Waiver | None, may_waive: bool
) -> dict[str, Any]:
    spec = measuring.in_unit(spec, found.detail if found else {})
    state = CriterionState(found.state) if found else CriterionState.NOT_MEASURED
    value = found.value if found else None
    value_pos, threshold_pos = _bar(spec, value)
    lacking = value is None or state in {
        CriterionState.NOT_MEASURED,
        CriterionState.NOT_APPLICABLE,
        CriterionState.NOT_YET_DUE,
    }
    shown, unit = _plain(value, spec.unit)
    reason = (found.text if found else "") or _("not measured yet")
    notes = []
    if found and value is not None and found.text:
        notes.append(_sentence(found.text))
    if found and state == CriterionState.SLIPPED and found.deadline:
        notes.append(_("Slipped; grace ends {at} UTC.").format(at=moment_text(found.deadline)))
    if not spec.required:
        notes.append(_("Shown only: the decision does not wait for it."))
    if spec.safety:
        notes.append(_("Safety: only the AI Safety Officer may waive it."))
    return {
        "key": spec.key,
        "state": state.value,
        "state_label": state.label,
        "label": spec.label,
        "about": spec.question,
        "value": shown if value is not None else None,
        "unit": unit,
        "threshold_text": threshold_text(spec),
        "age_limit": age_limit_text(spec),
        "comment_url": reverse("usecases:comment-create", args=[gate.pk]) + f"?key={spec.key}",
        "value_pos": value_pos,
        "threshold_pos": threshold_pos,
        "bar_text": f"{_with_unit(value, spec.unit)}, {threshold_text(spec)}",
        "at": found.measured_at if found else None,
        "plant_at": found.plant_at if found else None,
        "since": found.since if found else None,
        "owner": spec.owner,
        "url": found.link if found else "",
        "reason": reason if lacking else "",
        "note": " ".join(notes),
        "deadline": found.deadline if found and state == CriterionState.SLIPPED else None,
        "required": spec.required,
        "safety": spec.safety,
        "waiver": {"by": waiver.granted_by, "until": waiver.expires_at, "reason": waiver.reason, "pk": waiver.pk}
        if waiver
        else None,
        "waive_url": reverse("usecases:waiver-create", args=[gate.pk]) + f"?key={spec.key}"
        if may_waive and gate.state in MEASURED and spec.required and waiver is None and state in _WAIVABLE
        else "",
    }


def criteria_of(gate: Gate) -> list[dict[str, Any]]:
    """The registered criteria of a gate with what was measured last, as data (two queries)."""
    known = measuring.current_rows(gate)
    waivers = measuring.waivers_in_force([gate], wall_now())
    rows = []
    for spec in registry.specs_for(gate.number):
        found, waiver = known.get(spec.key), waivers.get((gate.pk, spec.key))
        unit = measuring.in_unit(spec, found.detail if found else {}).unit
        rows.append(
            {
                "key": spec.key,
                "label": str(spec.label),
                "question": str(spec.question),
                "owner": str(spec.owner),
                "comparator": str(spec.comparator),
                "threshold": spec.threshold,
                "unit": unit,
                "max_age_seconds": spec.max_age.total_seconds() if spec.max_age is not None else None,
                "grace_seconds": 0.0 if spec.safety else spec.grace.total_seconds(),
                "required": spec.required,
                "safety": spec.safety,
                "essential": spec.essential,
                "state": str(found.state if found else CriterionState.NOT_MEASURED),
                "value": found.value if found else None,
                "text": found.text if found else "",
                "measured_at": found.measured_at if found else None,
                "plant_at": found.plant_at if found else None,
                "since": found.since if found else None,
                "deadline": found.deadline if found else None,
                "link": found.link if found else "",
                "waived_until": waiver.expires_at if waiver else None,
            }
        )
    return rows


_WAIVABLE = {CriterionState.NOT_MET, CriterionState.NOT_MEASURED, CriterionState.SLIPPED}


def evidence_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many required criteria are met or waived, and of how many that count; until when the first may slip."""
    counted = [r for r in rows if r["required"] and r["state"] not in {"not_applicable", "not_yet_due"}]
    good = [r for r in counted if r["state"] in {"met", "waived"}]
    ends = [r["deadline"] for r in counted if r["deadline"]]
    return {
        "met": len(good),
        "of": len(counted),
        "open": len(counted) - len(good),
        "slips_until": min(ends, default=None),
    }


def evidence_history(gate: Gate, limit: int = 40) -> list[dict[str, Any]]:
    """Changes of state, the newest first."""
    rows = Evidence.objects.filter(gate=gate).order_by("-since", "key")[:limit]
    return [
        {
            "at": row.since,
            "label": spec.label if (spec := registry.spec(row.key)) else row.key,
            "state": row.state,
            "state_label": row.get_state_display(),
            "text": row.text,
            "current": row.current,
        }
        for row in rows
    ]


def open_review(gate: Gate) -> GateReview | None:
    return GateReview.objects.filter(gate=gate, state="open").select_related("opened_by").first()


def signer_slots(review: GateReview) -> list[dict[str, Any]]:
    """The signatures a gate needs and who has given them."""
    from usecases.gate_rules import slots_filled
    from usecases.services.reviews import signatures_of

    filled = slots_filled(review.gate.number, signatures_of(review))
    names = {s.person_id: s for s in review.signatures.all()}
    return [{"label": slot.label, "signature": names.get(filled[slot.key])} for slot in SIGNERS[review.gate.number]]


def frozen_rows(review: GateReview) -> list[dict[str, Any]]:
    """The criteria as the review froze them, for its page and its print."""
    words = review.snapshot.get("context", {}).get("criteria", {})
    out = []
    order = {spec.key: at for at, spec in enumerate(registry.specs_for(review.gate.number))}
    for row in sorted(review.snapshot.get("criteria", []), key=lambda row: order.get(row["key"], len(order))):
        told = words.get(row["key"], {})
        state = CriterionState(row["state"])
        spec = registry.spec(row["key"])
        is_flag = spec is not None and spec.comparator == Comparator.TRUE
        value = row["value"]
        shown, unit = _plain(bool(value) if is_flag and value is not None else value, row["unit"])
        out.append(
            {
                "label": told.get("label", row["key"]),
                "state": state.value,
                "state_label": state.label,
                "value": None if value is None else shown,
                "unit": unit,
                "threshold": ""
                if is_flag
                else f"{row['comparator'].replace('_', ' ')} {_with_unit(row['threshold'], row['unit'])}".strip(),
                "text": told.get("said") or row["reason"],
                "owner": told.get("owner", ""),
                "measured": _moment_of(row["measured_at"]),
                "age_limit": _age_limit(row["max_age_seconds"]),
                "link": row["link"],
                "required": row["required"],
                "waiver": _frozen_waiver(row["waiver"]),
            }
        )
    return out


def _frozen_waiver(waiver: dict[str, Any] | None) -> dict[str, Any] | None:
    """A waiver as the snapshot holds it, its end as a moment and not as text."""
    return waiver and waiver | {"expires_at": datetime.fromisoformat(waiver["expires_at"])}


def terms_open() -> Any:
    """Conditions, and what to redo, that the newest decision of a gate asks for and that are not met yet."""
    later = GateReview.objects.filter(
        gate=OuterRef("review__gate"), state=ReviewState.DECIDED, decided_at__gt=OuterRef("review__decided_at")
    )
    asking = Gate.objects.filter(state__in=[GateState.CONDITIONAL, GateState.OPEN, GateState.REOPENED])
    return GateCondition.objects.filter(
        ~Exists(later.order_by()), met_at=None, review__gate__in=gates_alive(asking).order_by()
    )


def reviews_waiting_for(user: Any) -> QuerySet[GateReview]:
    """Open reviews this person may sign and has not signed."""
    return (
        GateReview.objects.permitted(user, "sign")
        .filter(state="open")
        .exclude(signatures__user=user)
        .exclude(signatures__on_behalf_of=user)
        .select_related("gate__use_case", "gate__adoption__site", "gate__adoption__use_case")
    )
