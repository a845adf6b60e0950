"""Outcomes: the KPI over plant time against baseline and target, its readings, and how both are changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db.models import F
from django.utils.translation import gettext as _

from portal.core.access import get_permitted
from portal.core.pages import FormPage, UpdatePage, limit_choices
from portal.core.plots import figure
from usecases import services
from usecases.models import KpiReading, Outcome, UseCase
from usecases.outcomes_forms import BaselineForm, OutcomeForm, ReadingForm


def with_readings(use_case: UseCase) -> list[tuple[Outcome, list[tuple[datetime, float]]]]:
    """The outcomes of a use case with the KPI per exposure at the start of each period; one query."""
    found: dict[Any, tuple[Outcome, list[tuple[datetime, float]]]] = {}
    rows: Any = use_case.outcomes.annotate(
        start=F("readings__period_from"), total=F("readings__value"), exposure=F("readings__exposure")
    )
    for row in rows.order_by("kpi", "id", "readings__period_from", "readings__id"):
        _outcome, readings = found.setdefault(row.pk, (row, []))
        if row.exposure:
            readings.append((row.start, row.total / row.exposure))
    return list(found.values())


def outcome_figure(outcome: Outcome, readings: list[tuple[datetime, float]]) -> dict[str, Any] | None:
    """KPI per exposure over plant time, with baseline and target as lines."""
    if len(readings) < 2:
        return None
    x = [at.isoformat() for at, _value in readings]
    y = [round(value, 6) for _at, value in readings]
    shapes = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": level,
            "y1": level,
            "line": {"dash": dash, "width": 1},
        }
        for level, dash in ((outcome.baseline_value, "dash"), (outcome.target_value, "dot"))
        if level is not None
    ]
    return figure(
        [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": outcome.kpi,
                "x": x,
                "y": y,
                "meta": {"role": "primary"},
            }
        ],
        x_title="plant time",
        y_title=f"{outcome.unit} per {outcome.exposure_unit}",
        shapes=shapes,
        height=240,
    )


class OutcomeCreate(FormPage):
    title = "New outcome"
    form_class = OutcomeForm
    submit_label = "Create"

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(UseCase.objects.all(), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return OutcomeForm(data, instance=Outcome(use_case=obj))

    def save(self, obj: Any, form: Any) -> str:
        data = {k: v for k, v in form.cleaned_data.items() if k != "reason"}
        services.outcome_create(actor=self.request.user, use_case=obj, **data)
        return obj.get_absolute_url()


class OutcomeEdit(UpdatePage):
    title = "Change outcome"
    model = Outcome
    form_class = OutcomeForm

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        reason = data.pop("reason", "")
        return services.outcome_update(
            actor=self.request.user, outcome=obj, data=data, expected_version=version, reason=reason
        )

    def more(self, obj: Any) -> dict[str, Any]:
        return {"version": self.request.POST.get("version") or obj.version}


class BaselineCompute(FormPage):
    title = "Baseline from readings"
    form_class = BaselineForm
    submit_label = "Compute the baseline"

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(Outcome.objects.select_related("use_case"), self.request.user, kwargs["pk"], "change")

    def save(self, obj: Any, form: Any) -> str:
        made = services.baseline_compute(actor=self.request.user, outcome=obj, **form.cleaned_data)
        messages.success(
            self.request,
            _("Baseline: {value} {unit} per {exposure_unit}.").format(
                value=f"{made.baseline_value:.4g}", unit=made.unit, exposure_unit=made.exposure_unit
            ),
        )
        return made.get_absolute_url()


class ReadingCreate(FormPage):
    title = "New KPI reading"
    form_class = ReadingForm
    submit_label = "Add the reading"

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(Outcome.objects.select_related("use_case"), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = ReadingForm(data, instance=KpiReading(outcome=obj))
        limit_choices(form, self.request.user)
        return form

    def save(self, obj: Any, form: Any) -> str:
        services.reading_create(actor=self.request.user, outcome=obj, **form.cleaned_data)
        return obj.get_absolute_url()
