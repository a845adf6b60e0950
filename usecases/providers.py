"""Measured facts of gates 1 and 2. Each answers a number with its time and a link, or says why there is none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.urls import reverse

from devices.choices import DeviceKind, DeviceState
from devices.models import Channel, Device
from portal.core.clock import day_text
from usecases import planning
from usecases.choices import Comparator, Label, RoundState
from usecases.evidence import CriterionSpec, Measurement, Subject, register
from usecases.gate_rules import RATERS
from usecases.models import BusinessCase, Outcome, ScoringRound
from usecases.services.outcomes import target_better

#: Protocols the portal reads by a standard; "other" is a bespoke driver.
OWN_PROTOCOL = "other"


def _page(subject: Subject) -> str:
    return reverse("usecases:use-case", args=[subject.use_case.pk])


def _outcomes(subject: Subject) -> list[Outcome]:
    return list(Outcome.objects.filter(use_case=subject.use_case))


def baseline(subject: Subject) -> Measurement:
    rows = _outcomes(subject)
    if not rows:
        return Measurement.missing("No outcome is named yet.", _page(subject))
    ready = [o for o in rows if o.baseline_value is not None and o.baseline_exposure and o.baseline_from]
    if not ready:
        return Measurement.missing("No reading lies in a baseline window yet.", _page(subject))
    first = ready[0]
    text = (
        f"{first.kpi}: {first.baseline_value:.4g} {first.unit} per {first.exposure_unit} over "
        f"{first.baseline_exposure:,.0f} {first.exposure_unit}, {day_text(first.baseline_from)} to {day_text(first.baseline_to)}."
    )
    return Measurement.of(len(ready) == len(rows), text, measured_at=subject.now, link=_page(subject))


def target(subject: Subject) -> Measurement:
    rows = _outcomes(subject)
    if not rows:
        return Measurement.missing("No outcome is named yet.", _page(subject))
    missing = [o.kpi for o in rows if o.target_value is None]
    if missing:
        return Measurement.of(
            False, f"No target yet for {', '.join(missing)}.", measured_at=subject.now, link=_page(subject)
        )
    wrong = [o.kpi for o in rows if target_better(o) is False]
    text = (
        f"The target of {', '.join(wrong)} is no better than its baseline."
        if wrong
        else "; ".join(
            f"{o.kpi}: {o.target_value:.4g} {o.unit} per {o.exposure_unit}"
            + (f" by {day_text(o.target_by)}" if o.target_by else "")
            for o in rows
        )
    )
    return Measurement.of(not wrong, text, measured_at=subject.now, link=_page(subject))


def last_round(subject: Subject) -> ScoringRound | None:
    rows = ScoringRound.objects.filter(use_cases=subject.use_case, state=RoundState.CLOSED)
    return rows.order_by("-closed_at").first()


def _no_round(subject: Subject) -> Measurement:
    running = ScoringRound.objects.filter(use_cases=subject.use_case).exclude(state=RoundState.CLOSED).first()
    if running is not None:
        return Measurement.missing(f"“{running}” is still open.", running.get_absolute_url())
    return Measurement.missing("It has not been scored in a round yet.", reverse("usecases:rounds"))


def raters(subject: Subject) -> Measurement:
    meeting = last_round(subject)
    if meeting is None or meeting.closed_at is None:
        return _no_round(subject)
    rows = [r for r in meeting.result.get("agreement", []) if r["use_case"] == str(subject.use_case.pk)]
    if not rows:
        return _no_round(subject)
    enough = [r for r in rows if not r["missing_roles"] or r["derived"] is not None]
    lacking = sorted({role.replace("_", " ") for r in rows if r not in enough for role in r["missing_roles"]})
    people = max(r["count"] + r["dont_know"] for r in rows)
    text = f"{len(enough)} of {len(rows)} sub-criteria have answers from every role asked for; {people} people rated."
    if lacking:
        text += f" Missing: {', '.join(lacking)}."
    return Measurement.of(
        round(100 * len(enough) / len(rows), 1), text, measured_at=meeting.closed_at, link=meeting.get_absolute_url()
    )


def robust(subject: Subject) -> Measurement:
    meeting = last_round(subject)
    if meeting is None or meeting.closed_at is None:
        return _no_round(subject)
    rows = meeting.result.get("rows", [])
    mine = next((r for r in rows if r["id"] == str(subject.use_case.pk)), None)
    if mine is None:
        return Measurement.missing("Nobody could rate it in that round.", meeting.get_absolute_url())
    if len(rows) == 1:
        return Measurement.not_applicable("It was the only use case in its round: there is nothing to rank it against.")
    share = 100 * mine["keeps_place"]
    place = "First" if mine["rank"] == 1 else f"In place {mine['rank']} or better"
    return Measurement.of(
        round(share, 1),
        f"{place} in {share:.0f} of 100 plausible weightings ({len(rows)} use cases ranked).",
        measured_at=meeting.closed_at,
        link=meeting.get_absolute_url(),
    )


def net_present_value(subject: Subject) -> Measurement:
    case = BusinessCase.objects.filter(use_case=subject.use_case).first()
    link = reverse("usecases:business-case", args=[subject.use_case.pk])
    if case is None or not case.result or case.computed_at is None:
        return Measurement.missing("There is no business case with lines yet.", link)
    worth = case.result
    return Measurement.of(
        worth["p50"],
        f"Expected {worth['p50']:,.0f} {case.currency} (bad case {worth['p10']:,.0f}, good case {worth['p90']:,.0f}); "
        "the amounts are labelled assumptions.",
        measured_at=case.computed_at,
        link=link,
        assumption=case.assumption,
        unit=case.currency,
    )


def sponsor(subject: Subject) -> Measurement:
    named = subject.use_case.sponsor
    text = f"{named} answers for it." if named else "Nobody is named as sponsor."
    return Measurement.of(named is not None, text, measured_at=subject.now, link=_page(subject))


def labelled(subject: Subject) -> Measurement:
    label = Label(subject.use_case.label)
    text = f"{label.label}."
    if label == Label.MOON_SHOT:
        text += " A programme starts with quick wins and foundations: waive this with a reason to go on."
    fits = label in {Label.QUICK_WIN, Label.FOUNDATION}
    return Measurement.of(fits, text, measured_at=subject.now, link=_page(subject))


def portfolio_place(subject: Subject) -> Measurement:
    found = planning.plan_of_record()
    if found is None:
        return Measurement.missing("There is no plan of record yet.", reverse("usecases:portfolio"))
    scenario, run = found
    key, link = str(subject.use_case.pk), scenario.get_absolute_url()
    start = run.result.get("starts", {}).get(key)
    if start is None and key not in run.inputs.get("cases", {}):
        return Measurement.missing(f"It was not among the use cases of “{scenario}”, the plan of record.", link)
    text = (
        f"The budget of “{scenario}” does not buy it."
        if start is None
        else f"“{scenario}” starts it in {planning.quarter_label(scenario.start, start)}."
    )
    return Measurement.of(start is not None, text, measured_at=run.finished_at or run.created_at, link=link)


def _in_scope(subject: Subject) -> list[Device]:
    if subject.adoption is None:
        return []
    rows = subject.adoption.devices.exclude(state=DeviceState.RETIRED).select_related("device_type", "gateway")
    return list(rows)


def _adoption_page(subject: Subject) -> str:
    return reverse("usecases:adoption", args=[subject.adoption.pk]) if subject.adoption else ""


def _of_devices(subject: Subject, good: list[Device], bad: list[Device], what: str, lacking: str) -> Measurement:
    every = len(good) + len(bad)
    if not every:
        return Measurement.missing("No device is in scope of this adoption yet.", _adoption_page(subject))
    text = f"{len(good)} of {every} devices {what}."
    if bad:
        text += f" {lacking}: {', '.join(str(d) for d in bad[:4])}{' …' if len(bad) > 4 else ''}."
    return Measurement.of(
        round(100 * len(good) / every, 1), text, measured_at=subject.now, link=_adoption_page(subject)
    )


def onboarded(subject: Subject) -> Measurement:
    rows = _in_scope(subject)
    good = [
        d
        for d in rows
        if d.state == DeviceState.ACTIVE and d.device_type.standard and d.device_type.protocol != OWN_PROTOCOL
    ]
    return _of_devices(
        subject, good, [d for d in rows if d not in good], "are active on a standard protocol", "Not yet"
    )


def signals_covered(subject: Subject) -> Measurement:
    wanted = list(dict.fromkeys(subject.use_case.required_signals))
    if not wanted:
        return Measurement.missing("The use case does not say which signals its model needs.", _page(subject))
    rows = _in_scope(subject)
    if not rows:
        return Measurement.missing("No device is in scope of this adoption yet.", _adoption_page(subject))
    present = set(Channel.objects.filter(device__in=rows, code__in=wanted).values_list("code", flat=True))
    lacking = [code for code in wanted if code not in present]
    text = f"{len(wanted) - len(lacking)} of {len(wanted)} required signals have a channel."
    if lacking:
        text += f" Missing: {', '.join(lacking[:8])}."
    return Measurement.of(
        round(100 * (len(wanted) - len(lacking)) / len(wanted), 1),
        text,
        measured_at=subject.now,
        link=_adoption_page(subject),
    )


def three_layers(subject: Subject) -> Measurement:
    rows = _in_scope(subject)

    def conforms(device: Device) -> bool:
        if device.location_id is None:
            return False
        if device.device_type.kind == DeviceKind.GATEWAY:
            return True
        gateway = device.gateway
        return gateway is not None and gateway.state == DeviceState.ACTIVE

    good = [d for d in rows if conforms(d)]
    return _of_devices(
        subject,
        good,
        [d for d in rows if d not in good],
        "have a place and reach the portal through an active gateway",
        "Without a place or gateway",
    )


def attestation(subject: Subject) -> Measurement:
    return Measurement.missing("Hardware attestation is not set up at this site.", _adoption_page(subject))


def _specs() -> list[CriterionSpec]:
    year = timedelta(days=365)
    yes: dict[str, Any] = {"unit": "", "comparator": Comparator.TRUE, "threshold": True}
    whole: dict[str, Any] = {"unit": "%", "comparator": Comparator.AT_LEAST, "threshold": 100}
    asked = ", ".join(role.replace("_", " ") for role in RATERS)
    return [
        CriterionSpec("align.baseline", 1, "Measured baseline", "Has the outcome a baseline from readings?",
                      provider=baseline, owner="Plant manager", essential=True, order=10, **yes),
        CriterionSpec("align.target", 1, "Target set", "Is there a target better than the baseline?",
                      provider=target, owner="Plant manager", order=20, **yes),
        CriterionSpec("align.raters", 1, "Scored by the right roles",
                      f"Has every sub-criterion an answer from each role ({asked})?",
                      provider=raters, owner="CoE lead", max_age=year, order=30, **whole),
        CriterionSpec("align.robust", 1, "Ranking robust", "Does it keep its place under other plausible weightings?",
                      "%", Comparator.AT_LEAST, 50, robust, "CoE lead", max_age=year, order=40),
        CriterionSpec("align.npv", 1, "Business case positive", "Is the expected net present value above zero?",
                      "EUR", Comparator.ABOVE, 0, net_present_value, "Executive sponsor", max_age=year, order=50),
        CriterionSpec("align.sponsor", 1, "Sponsor named", "Who answers for it?",
                      provider=sponsor, owner="CoE lead", order=60, **yes),
        CriterionSpec("align.label", 1, "Quick win or foundation", "What is it for the programme?",
                      provider=labelled, owner="CoE lead", order=70, **yes),
        CriterionSpec("align.portfolio", 1, "Place in the portfolio", "Does the budget buy it?",
                      provider=portfolio_place, owner="CoE lead", required=False, order=80, **yes),
        CriterionSpec("architect.devices", 2, "Devices onboarded", "Are the devices in scope active on a standard protocol?",
                      provider=onboarded, owner="OT engineer", order=10, **whole),
        CriterionSpec("architect.signals", 2, "Required signals covered", "Has every signal the model needs a channel?",
                      provider=signals_covered, owner="OT engineer", order=20, **whole),
        CriterionSpec("architect.layers", 2, "Three-layer architecture",
                      "Does each device in scope have a place and reach the portal through a gateway?",
                      provider=three_layers, owner="Edge Integration Architect", order=30, **whole),
        CriterionSpec("architect.attestation", 2, "Devices attested", "Is the attestation of each device valid and fresh?",
                      provider=attestation, owner="OT engineer", required=False, order=40, **yes),
    ]  # fmt: skip


def register_all() -> None:
    register(*_specs())
