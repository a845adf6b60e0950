"""Facts of governance that measure a sub-criterion: do the rows come, are they good, is somebody accountable. In plant time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Q, Sum
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices.choices import SiteKind
from devices.plant_time import plant_now
from governance.choices import CheckKind, CheckState, StageKind
from governance.models import Batch, CheckResult, Pipeline
from usecases.domain import measured
from usecases.evidence import Measurement
from usecases.facts import Fact, once, register
from usecases.models import UseCase

#: How far back the rows are looked at, in plant time.
WINDOW = timedelta(days=30)


@dataclass
class Flow:
    """The pipelines of the use cases, and the window of plant time at the site of each."""

    of_case: dict[Any, list[Pipeline]]
    ends: dict[Any, datetime]

    def pipelines(self) -> list[Pipeline]:
        return [p for rows in self.of_case.values() for p in rows]

    def window(self, pipeline_field: str, moment_field: str) -> Q:
        """The rows of each pipeline inside the window of its site; sites at the same moment share a condition."""
        together: dict[datetime, list[Any]] = defaultdict(list)
        for pipeline in self.pipelines():
            together[self.ends[pipeline.pk]].append(pipeline.pk)
        found = Q(pk=None)
        for end, keys in together.items():
            when = {f"{moment_field}__gt": end - WINDOW, f"{moment_field}__lte": end}
            found |= Q(**{f"{pipeline_field}__in": keys}, **when)
        return found


def flow(use_cases: Sequence[UseCase], now: datetime) -> Flow:
    return once("governance.flow", lambda: _flow(use_cases, now))


def _flow(use_cases: Sequence[UseCase], now: datetime) -> Flow:
    """One query."""
    rows = Pipeline.objects.filter(adoption__use_case__in=[case.pk for case in use_cases])
    rows = rows.select_related("adoption__site__plant_clock", "owner").defer("policy_state", "reference")
    of_case: dict[Any, list[Pipeline]] = defaultdict(list)
    ends: dict[Any, datetime] = {}
    for pipeline in rows.order_by("name", "pk"):
        site = pipeline.adoption.site
        of_case[pipeline.adoption.use_case_id].append(pipeline)
        ends[pipeline.pk] = now if site.kind == SiteKind.LIVE else plant_now(site)
    return Flow(of_case, ends)


def _no_pipeline() -> Measurement:
    return Measurement.missing(_("No pipeline carries its data yet."))


# ---- availability and quality: the results of checks ------------------------------------------------------------------


@dataclass
class Checked:
    """Results of checks in the window: batches judged and passed, rows judged and failed."""

    results: int = 0
    passed: int = 0
    rows: int = 0
    failed_rows: int = 0
    measured_at: datetime | None = None
    plant_at: datetime | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        self.results += row["results"]
        self.passed += row["passed"]
        self.rows += row["rows"] or 0
        self.failed_rows += row["failed_rows"] or 0
        self.measured_at = max(filter(None, (self.measured_at, row["newest"])), default=None)
        self.plant_at = max(filter(None, (self.plant_at, row["newest_plant"])), default=None)


def _checked(known: Flow, kinds: Collection[str], stages: Collection[str]) -> dict[Any, Checked]:
    """Use case -> its results of some kinds of checks at some stages."""
    case_of = {p.pk: case for case, found in known.of_case.items() for p in found}
    made: dict[Any, Checked] = defaultdict(Checked)
    for row in once("governance.checked", lambda: _results(known)):
        if row["stage_check__kind"] in kinds and row["stage_check__stage__kind"] in stages:
            made[case_of[row["batch__pipeline"]]].add(row)
    return made


def _results(known: Flow) -> list[Mapping[str, Any]]:
    """The window's results by pipeline, kind of check and stage. One query."""
    rows = CheckResult.objects.filter(known.window("batch__pipeline", "plant_at")).exclude(state=CheckState.SKIPPED)
    told = rows.order_by().values("batch__pipeline", "stage_check__kind", "stage_check__stage__kind")
    return list(
        told.annotate(
            results=Count("pk"),
            passed=Count("pk", filter=Q(state=CheckState.PASSED)),
            rows=Sum("batch__rows"),
            failed_rows=Sum("failed_rows"),
            newest=Max("created_at"),
            newest_plant=Max("plant_at"),
        )
    )


def availability(use_cases: Sequence[UseCase], now: datetime) -> dict[Any, Measurement]:
    """Share of the batches that came in time, without a gap, in the last 30 days of plant time, in percent."""
    known = flow(use_cases, now)
    found = _checked(known, [CheckKind.STALENESS], [StageKind.SOURCE])
    made = {}
    for case in use_cases:
        told, pipelines = found.get(case.pk), known.of_case.get(case.pk, [])
        if not pipelines:
            made[case.pk] = _no_pipeline()
        elif told is None or told.measured_at is None:
            made[case.pk] = _nothing_checked(pipelines)
        else:
            made[case.pk] = Measurement.of(
                round(100 * told.passed / told.results, 2),
                _("{n} of {all} batches of the last 30 days (plant time) came in time, without a gap.").format(
                    n=f"{told.passed:,}", all=f"{told.results:,}"
                ),
                measured_at=told.measured_at,
                plant_at=told.plant_at,
                link=pipelines[0].get_absolute_url(),
            )
    return made


def quality(use_cases: Sequence[UseCase], now: datetime) -> dict[Any, Measurement]:
    """Share of the rows that pass the schema and range checks in the last 30 days of plant time, in percent."""
    known = flow(use_cases, now)
    stages = [kind for kind in StageKind.values if kind != StageKind.PREDICTION]
    found = _checked(known, [CheckKind.SCHEMA, CheckKind.RANGE], stages)
    made = {}
    for case in use_cases:
        told, pipelines = found.get(case.pk), known.of_case.get(case.pk, [])
        if not pipelines:
            made[case.pk] = _no_pipeline()
        elif told is None or told.measured_at is None or not told.rows:
            made[case.pk] = _nothing_checked(pipelines)
        else:
            good = max(0, told.rows - told.failed_rows)
            made[case.pk] = Measurement.of(
                round(100 * good / told.rows, 2),
                _("{n} of {all} rows looked at in the last 30 days (plant time) were complete and in range.").format(
                    n=f"{good:,}", all=f"{told.rows:,}"
                ),
                measured_at=told.measured_at,
                plant_at=told.plant_at,
                link=pipelines[0].get_absolute_url(),
            )
    return made


def _nothing_checked(pipelines: list[Pipeline]) -> Measurement:
    return Measurement.missing(
        _("No batch was checked in the last 30 days of plant time."), pipelines[0].get_absolute_url()
    )


# ---- governance: lineage and owners -----------------------------------------------------------------------------------


def governance(use_cases: Sequence[UseCase], now: datetime) -> dict[Any, Measurement]:
    """Mean of two shares, in percent: predictions of the last 30 days of plant time that lead back to their channels, and owners
    that are named (of the use case, and of the data of each pipeline)."""
    known = flow(use_cases, now)
    lineage = _lineage(known)
    owners = {case.pk: case.owner_id for case in use_cases}
    return {
        case.pk: _governance(known.of_case.get(case.pk, []), owners[case.pk] is not None, lineage, now)
        for case in use_cases
    }


def _lineage(known: Flow) -> dict[Any, tuple[int, int, datetime]]:
    """Pipeline -> predictions in the window, those that lead back to a batch of channels, and the newest's plant time. Two queries."""
    rows = Batch.objects.filter(known.window("pipeline", "plant_to"), stage__kind=StageKind.PREDICTION).order_by()
    whole = rows.filter(inputs__inputs__inputs__stage__kind=StageKind.SOURCE).values("pipeline")
    complete = dict(whole.annotate(n=Count("pk", distinct=True)).values_list("pipeline", "n"))
    told = rows.values("pipeline").annotate(n=Count("pk"), newest=Max("plant_to"))
    return {r["pipeline"]: (r["n"], complete.get(r["pipeline"], 0), r["newest"]) for r in told}


def _governance(
    pipelines: list[Pipeline], owned: bool, lineage: dict[Any, tuple[int, int, datetime]], now: datetime
) -> Measurement:
    if not pipelines:
        return _no_pipeline()
    told = [lineage[p.pk] for p in pipelines if p.pk in lineage]
    if not told:
        return Measurement.missing(
            _("No prediction was recorded in the last 30 days of plant time: there is no lineage to follow."),
            pipelines[0].get_absolute_url(),
        )
    every, complete = sum(n for n, _whole, _at in told), sum(whole for _n, whole, _at in told)
    unowned = [p.name for p in pipelines if p.owner is None or not p.owner.is_active]
    asked = len(pipelines) + 1
    named = asked - len(unowned) - (0 if owned else 1)
    text = _(
        "{n} of {all} predictions of the last 30 days (plant time) lead back to their channels; {named} of {asked} owners are named."
    )
    words = text.format(n=f"{complete:,}", all=f"{every:,}", named=named, asked=asked)
    lacking = ([] if owned else [_("the use case")]) + unowned
    if lacking:
        words += " " + _("Nobody owns: {names}.").format(names=", ".join(lacking[:4]))
    return Measurement.of(
        round(measured.mean_percent([complete / every, named / asked]), 1),
        words,
        measured_at=now,
        plant_at=max(at for _n, _whole, at in told),
        link=pipelines[0].get_absolute_url(),
    )


def register_all() -> None:
    register(
        Fact(
            "governance.availability",
            gettext_lazy("Availability of data"),
            gettext_lazy("How many batches of the last 30 days came in time?"),
            "%",
            90.0,
            100.0,
            availability,
            order=30,
        ),
        Fact(
            "governance.quality",
            gettext_lazy("Quality of data"),
            gettext_lazy("How many rows of the last 30 days pass the checks?"),
            "%",
            90.0,
            100.0,
            quality,
            order=40,
        ),
        Fact(
            "governance.accountability",
            gettext_lazy("Governance of data"),
            gettext_lazy("Do predictions lead back to their channels, and are owners named?"),
            "%",
            0.0,
            100.0,
            governance,
            order=50,
        ),
    )
