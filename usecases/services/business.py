"""Business cases: lines in, present value, payback and the spread of outcomes out. Computed with every change."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import numpy as np
from django.db import transaction

from portal.core import audit
from portal.core.clock import wall_now
from portal.core.errors import InvalidInput
from portal.core.records import _clean, entity_create, entity_update, versioned_update
from usecases.domain import business_case as domain
from usecases.domain.cash_flow import IrrStatus, npv_curve, per_quarter, per_year, zero_rates
from usecases.domain.errors import InvalidInput as DomainInvalid
from usecases.models import BusinessCase, BusinessLine
from usecases.money import Rate, Rates
from usecases.services.gates import gates_remeasure

LINE_FIELDS = (
    "kind",
    "name",
    "low",
    "likely",
    "high",
    "first_quarter",
    "last_quarter",
    "ramp_quarters",
    "delay_low",
    "delay_likely",
    "delay_high",
    "attribution",
    "note",
)
MAX_LINES = 100
_FIELD_OF = {
    "first": "first_quarter",
    "last": "last_quarter",
    "amount": "likely",
    "ramp": "ramp_quarters",
    "delay": "delay_likely",
}


def line_keys(lines: list[BusinessLine]) -> list[str]:
    """A key per line that stays when lines are moved or added: its draws hang on it."""
    keys: list[str] = []
    for line in lines:
        key = f"{line.kind} {line.name}"
        keys.append(key if key not in keys else f"{key} #{len(keys)}")
    return keys


def as_case(case: BusinessCase, lines: list[BusinessLine]) -> domain.Case:
    return domain.Case(
        lines=tuple(
            domain.Line(
                key=key,
                kind=domain.LineKind(line.kind),
                amount=domain.Estimate(float(line.low), float(line.likely), float(line.high)),
                first=line.first_quarter,
                last=line.last_quarter,
                delay=domain.Estimate(line.delay_low, line.delay_likely, line.delay_high),
                ramp=domain.Estimate.exactly(line.ramp_quarters),
                attribution=line.attribution,
            )
            for key, line in zip(line_keys(lines), lines, strict=True)
        ),
        quarters=case.quarters,
        annual_rate=case.discount_rate,
        currency=case.currency,
    )


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _numbers(values: Any) -> list[float]:
    return [round(float(v), 2) for v in values]


def _curve(flow: Any) -> dict[str, Any]:
    """NPV over the yearly rate around everything there is to see: today's rates, and each rate at which it is zero."""
    bounds = [per_quarter(domain.LOWEST_ANNUAL_RATE), per_quarter(domain.HIGHEST_ANNUAL_RATE)]
    zeros = [float(r) for r in per_year(zero_rates(flow, lowest=bounds[0], highest=bounds[1]))]
    low, high = min([-0.1, *zeros]), max([0.3, *zeros])
    margin = 0.15 * (high - low)
    rates = np.linspace(max(low - margin, -0.95), high + margin, 81)
    drawn = npv_curve(flow, [per_quarter(float(r)) for r in rates])
    return {
        "rates": [round(float(r), 5) for r in rates],
        "npv": _numbers(drawn),
        "zeros": [round(zero, 5) for zero in zeros],
    }


def compute(case: BusinessCase, lines: list[BusinessLine], *, rate: float = 1.0, currency: str = "") -> dict[str, Any]:
    """The result as stored and shown: money in the case's currency, times in quarters, ``None`` where there is no number.

    With ``rate`` and ``currency`` the same case in another currency (one unit of its own buys ``rate`` of the other)."""
    if not lines:
        return {}
    made = as_case(case, lines)
    if currency and currency != case.currency:
        made = domain.scaled(made, exchange_rate=rate, currency=currency)
    names = dict(zip(line_keys(lines), (line.name for line in lines), strict=True))
    likely = domain.appraise(made)
    drawn = domain.simulate(made, seed=case.seed)
    band = np.percentile(domain.drawn_flows(made, seed=case.seed).cumsum(axis=1), [10, 90], axis=0)
    return {
        "npv": _number(likely.npv),
        "p10": _number(drawn.p10),
        "p50": _number(drawn.p50),
        "p90": _number(drawn.p90),
        "mean": _number(drawn.mean),
        "chance_of_gain": _number(drawn.chance_of_gain),
        "irr": _number(likely.irr),
        "irr_status": IrrStatus(likely.irr_status).name.lower(),
        "modified": _number(likely.modified),
        "curve": _curve(likely.flow),
        "payback": _number(likely.payback),
        "discounted_payback": _number(likely.discounted_payback),
        "payback_range": [_number(p) for p in drawn.payback],
        "investment": _number(likely.investment),
        "profitability": _number(likely.profitability),
        "rating": None if likely.rating is None else _number(likely.rating),
        "flow": _numbers(likely.flow),
        "cumulative": _numbers(likely.cumulative),
        "band_low": _numbers(band[0]),
        "band_high": _numbers(band[1]),
        "capex": _numbers(likely.capex),
        "opex": _numbers(likely.opex),
        "benefit": _numbers(likely.benefit),
        "histogram": {"counts": [int(c) for c in drawn.counts], "edges": _numbers(drawn.edges)},
        "tornado": [
            {"line": names[s.key], "low": _number(s.at_low), "high": _number(s.at_high)} for s in domain.tornado(made)
        ],
        "draws": drawn.draws,
        "seed": drawn.seed,
        "currency": made.currency,
    }


def _at_field(error: DomainInvalid, lines: list[BusinessLine]) -> dict[str, str]:
    """The calculator's complaint at the line and field it is about."""
    for at, key in enumerate(line_keys(lines)):
        if error.field == key or error.field.startswith(f"{key}."):
            tail = error.field.removeprefix(key).lstrip(".")
            return {f"lines[{at}].{_FIELD_OF.get(tail, tail) or 'name'}": error.message}
    return {{"rate": "discount_rate"}.get(error.field, error.field): error.message}


def lines_check(case: BusinessCase, rows: list[dict[str, Any]]) -> None:
    """Whether these lines could be saved, without saving them: ``InvalidInput`` at ``lines[n].field``."""
    lines = _lines(case, rows)
    try:
        as_case(case, lines)
    except DomainInvalid as error:
        raise InvalidInput(_at_field(error, lines)) from error


def _lines(case: BusinessCase, rows: list[dict[str, Any]]) -> list[BusinessLine]:
    if len(rows) > MAX_LINES:
        raise InvalidInput({"lines": f"At most {MAX_LINES} lines."})
    lines, wrong = [], []
    for at, row in enumerate(rows):
        line = BusinessLine(case=case, position=at, **{name: row[name] for name in LINE_FIELDS if name in row})
        try:
            _clean(line, exclude=("case",))
        except InvalidInput as error:
            wrong += [{"field": f"lines[{at}].{e['field']}".rstrip("."), "message": e["message"]} for e in error.errors]
        lines.append(line)
    if wrong:
        raise InvalidInput(wrong)
    return lines


def _compute_and_store(case: BusinessCase, lines: list[BusinessLine]) -> None:
    try:
        result = compute(case, lines)
    except DomainInvalid as error:
        raise InvalidInput(_at_field(error, lines)) from error
    now = wall_now()
    BusinessCase.objects.filter(pk=case.pk).update(result=result, computed_at=now)
    case.result, case.computed_at = result, now


@transaction.atomic
def business_case_create(*, actor: Any, lines: list[dict[str, Any]] | None = None, **data: Any) -> BusinessCase:
    """``lines``: dicts with the fields of ``LINE_FIELDS``; a benefit starts in quarter 1 at the earliest."""
    case = entity_create(actor=actor, model=BusinessCase, data=data)
    made = _lines(case, lines or [])
    BusinessLine.objects.bulk_create(made)
    _compute_and_store(case, made)
    gates_remeasure(use_case=case.use_case_id)
    return case


@transaction.atomic
def business_case_update(
    *,
    actor: Any,
    case: BusinessCase,
    data: dict[str, Any],
    lines: list[dict[str, Any]] | None = None,
    expected_version: int | None = None,
) -> BusinessCase:
    """Change the case; ``lines`` (when given) replace all lines. One version for the whole, so that two people meet here."""
    before = case.version
    case = entity_update(actor=actor, obj=case, data=data, expected_version=expected_version)
    old = list(case.lines.all())
    made = old
    if lines is not None:
        made = _lines(case, lines)
        if [_plain(line) for line in made] != [_plain(line) for line in old]:
            if case.version == before:
                versioned_update(case, expected_version=expected_version)
            case.lines.all().delete()
            BusinessLine.objects.bulk_create(made)
            audit.record(
                actor=actor,
                action="businesscase.lines",
                obj=case,
                changes={"lines": [[_plain(line) for line in old], [_plain(line) for line in made]]},
            )
        else:
            made = old
    _compute_and_store(case, made)
    gates_remeasure(use_case=case.use_case_id)
    return case


def _plain(line: BusinessLine) -> dict[str, Any]:
    return {
        name: f"{getattr(line, name):.2f}" if name in {"low", "likely", "high"} else getattr(line, name)
        for name in LINE_FIELDS
    }


def lines_as_data(case: BusinessCase) -> list[dict[str, Any]]:
    return [{name: getattr(line, name) for name in LINE_FIELDS} for line in case.lines.all()]


def business_case_in(*, case: BusinessCase, currency: str, on: date | None = None) -> tuple[Rate, dict[str, Any]]:
    """The result of a case in another currency, by the newest rate on or before the day (today); ``no_exchange_rate`` where none is
    known. Nothing is stored."""
    rate = Rates(on or wall_now().date()).between(case.currency, currency)
    if currency == case.currency:
        return rate, case.result
    return rate, compute(case, list(case.lines.all()), rate=float(rate.rate), currency=currency)
