"""Outcomes: the KPI over plant time against baseline and target, its readings, and how both are changed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.db.models import F
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_tables2 import RequestConfig

from portal.core.access import get_permitted
from portal.core.clock import day_text
from portal.core.models import AuditEntry
from portal.core.pages import DetailPage, FormPage, UpdatePage, limit_choices
from portal.core.plots import figure
from portal.core.templatetags.phasegate import quantity
from usecases import services
from usecases.choices import Direction, Phase
from usecases.models import Gate, KpiReading, Outcome, UseCase
from usecases.outcomes_forms import BaselineForm, OutcomeForm, ReadingDeleteForm, ReadingForm
from usecases.outcomes_tables import ReadingTable
from usecases.proof import proof_of
from usecases.services.outcomes import baseline_window

_LOGGED = ("outcome.freeze_baseline", "outcome.rebaseline")


def crumbs(outcome: Outcome, *last: str) -> list[tuple[str, str]]:
    trail = [
        (_("Use cases"), reverse("usecases:use-cases")),
        (str(outcome.use_case), outcome.use_case.get_absolute_url()),
        (outcome.kpi, outcome.get_absolute_url() if last else ""),
    ]
    return [*trail, *((word, "") for word in last)]


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


def _level(value: float | None, dash: str, **more: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    line = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": value,
        "y1": value,
        "line": {"dash": dash, "width": 1},
    }
    return [line | more]


def kpi_figure(outcome: Outcome, readings: Sequence[KpiReading]) -> dict[str, Any] | None:
    """KPI per exposure over plant time for each plant, the exposure as bars behind it, baseline window, baseline and target."""
    used = [r for r in readings if r.exposure > 0]
    if not used:
        return None
    by_site: dict[str, list[KpiReading]] = defaultdict(list)
    for row in used:
        by_site[str(row.site) if row.site else _("all plants")].append(row)
    traces: list[dict[str, Any]] = []
    for name, rows in by_site.items():
        x = [r.period_from.isoformat() for r in rows]
        bar: dict[str, Any] = {
            "type": "bar",
            "name": _("exposure") if len(by_site) == 1 else _("exposure, {site}").format(site=name),
        }
        span = [(r.period_to - r.period_from) / timedelta(milliseconds=1) for r in rows]
        shape: dict[str, Any] = {"width": span, "offset": 0, "opacity": 0.18, "meta": {"role": "reference"}}
        traces.append({**bar, **shape, "x": x, "y": [r.exposure for r in rows]})
    for at, (name, rows) in enumerate(by_site.items()):
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": outcome.kpi if len(by_site) == 1 else name,
                "x": [r.period_from.isoformat() for r in rows],
                "y": [round(r.value / r.exposure, 6) for r in rows],
                "yaxis": "y2",
                **({"meta": {"role": "primary"}} if at == 0 else {}),
            }
        )
    shapes = [*_level(outcome.baseline_value, "dash", yref="y2"), *_level(outcome.target_value, "dot", yref="y2")]
    window = baseline_window(outcome)
    if window is not None:
        shaded = {
            "type": "rect",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": window[0].isoformat(),
            "x1": window[1].isoformat(),
        }
        shapes.append(shaded | {"fillcolor": "var(--pg-c6)", "opacity": 0.08, "line": {"width": 0}, "layer": "below"})
    return figure(
        traces,
        x_title=_("plant time"),
        shapes=shapes,
        height=320,
        barmode="overlay",
        yaxis={"title": {"text": outcome.exposure_unit}, "side": "right", "showgrid": False, "rangemode": "tozero"},
        yaxis2={
            "title": {"text": per_text(outcome)},
            "side": "left",
            "overlaying": "y",
            "tickmode": "auto",
            "rangemode": "tozero",
        },
    )


def per_text(outcome: Outcome) -> str:
    return _("{unit} per {exposure}").format(unit=outcome.unit, exposure=outcome.exposure_unit)


def standing(outcome: Outcome, readings: Sequence[KpiReading]) -> dict[str, Any]:
    """Where the KPI stands after the baseline: its value since then, the share gained, whether the target is reached."""
    window = baseline_window(outcome)
    after = [r for r in readings if window is not None and r.period_from >= window[1] and r.exposure > 0]
    exposure = sum(r.exposure for r in after)
    if not after or exposure <= 0:
        return {}
    now = sum(r.value for r in after) / exposure
    found: dict[str, Any] = {"value": now, "since": after[0].period_from, "until": max(r.period_to for r in after)}
    if outcome.baseline_value:
        sign = -1 if outcome.direction == Direction.DOWN else 1
        found["gain"] = sign * (now - outcome.baseline_value) / abs(outcome.baseline_value)
    if outcome.target_value is not None:
        down = outcome.direction == Direction.DOWN
        found["reached"] = now <= outcome.target_value if down else now >= outcome.target_value
    return found


def finding(outcome: Outcome, now: dict[str, Any]) -> str:
    """The title of the chart says what it shows."""
    if not now:
        return _("{kpi}: nothing measured since the baseline yet").format(kpi=outcome.kpi)
    if "gain" not in now:
        return outcome.kpi
    words = {"n": f"{100 * abs(now['gain']):.0f}", "day": day_text(now["since"])}
    text = _("{n} % better than the baseline") if now["gain"] >= 0 else _("{n} % worse than the baseline")
    if "reached" in now:
        text += _("; the target is reached") if now["reached"] else _("; the target is not reached yet")
    return text.format(**words)


class OutcomePage(DetailPage):
    """One KPI: where it stands, its baseline and who froze it, whether its target can be proved, its readings."""

    model = Outcome
    template = "usecases/outcome.html"
    asks = ("change",)

    def get_queryset(self) -> Any:
        return Outcome.objects.select_related("use_case", "owner")

    def facts(self, obj: Outcome) -> list[tuple[str, Any]]:
        return [
            (_("Use case"), obj.use_case),
            (_("Owner"), obj.owner or ""),
            (_("Source"), obj.source),
            (_("Computed by"), obj.provider_key),
            (_("Direction"), obj.get_direction_display()),
            (_("Counted"), _("events, one by one") if obj.counts_events else _("a quantity")),
            (_("Target by"), day_text(obj.target_by) if obj.target_by else ""),
        ]

    def actions(self, obj: Outcome) -> list[dict[str, Any]]:
        if not self.may(obj, "change"):
            return []
        bring = reverse("usecases:import") + f"?kind=kpi_readings&outcome={obj.pk}"
        return [
            {"label": _("Change"), "url": reverse("usecases:outcome-edit", args=[obj.pk]), "icon": "edit"},
            {"label": _("Bring in readings"), "url": bring, "icon": "table"},
            {
                "label": _("Add a reading"),
                "url": reverse("usecases:reading-create", args=[obj.pk]),
                "primary": True,
                "icon": "add",
            },
        ]

    def more(self, obj: Outcome) -> dict[str, Any]:
        readings = list(obj.readings.select_related("site").order_by("period_from", "id"))
        table = ReadingTable(readings, request=self.request, may_change=self.may(obj, "change"))
        RequestConfig(self.request, paginate={"per_page": 12, "silent": True}).configure(table)
        now = standing(obj, readings)
        mine = reverse("usecases:import") + f"?kind=kpi_readings&outcome={obj.pk}&export="
        return {
            "breadcrumbs": crumbs(obj),
            "subtitle": per_text(obj),
            "now": now,
            "per": per_text(obj),
            "figure": kpi_figure(obj, readings),
            "figure_title": finding(obj, now),
            "proof": proof_of(obj, readings),
            "baseline": self.baseline(obj, readings),
            "table": table,
            "readings": readings,
            "can_change": self.may(obj, "change"),
            "export_formats": [(form.upper(), mine + form) for form in ("csv", "xlsx")] if readings else [],
        }

    def baseline(self, obj: Outcome, readings: list[KpiReading]) -> dict[str, Any]:
        """Window, value, who froze it and what was re-baselined since; whether the readings still say the same."""
        window = baseline_window(obj)
        inside = [r for r in readings if window is not None and window[0] <= r.period_from and r.period_to <= window[1]]
        exposure = sum(r.exposure for r in inside)
        told = sum(r.value for r in inside) / exposure if exposure > 0 else None
        frozen = obj.baseline_frozen_at is not None
        log = AuditEntry.objects.filter(
            object_type="usecases.Outcome", object_id=str(obj.pk), action__in=_LOGGED
        ).select_related("actor")
        kept = obj.baseline_value
        differs = frozen and told is not None and kept is not None and not math.isclose(told, kept, rel_tol=1e-9)
        return {
            "readings": len(inside),
            "told": told,
            "differs": differs,
            "gate": Gate.objects.filter(use_case=obj.use_case, adoption=None, number=Phase.ALIGN).first()
            if frozen
            else None,
            "log": [_log_row(entry) for entry in log[:50]] if frozen else [],
        }


def _log_row(entry: AuditEntry) -> dict[str, Any]:
    changes = entry.changes
    moved = [
        {"label": _label_of(name), "old": _shown(pair[0]), "new": _shown(pair[1])}
        for name, pair in changes.items()
        if isinstance(pair, list) and len(pair) == 2 and name != "readings"
    ]
    if readings := changes.get("readings"):
        moved.append({"label": _("readings"), "old": "", "new": _("{n} at once").format(n=len(readings))})
    frozen = entry.action == "outcome.freeze_baseline"
    return {"entry": entry, "frozen": frozen, "reason": changes.get("reason", ""), "moved": moved, "changes": changes}


def _label_of(name: str) -> str:
    if name == "reading":
        return _("reading")
    return str(getattr(Outcome._meta.get_field(name), "verbose_name", name))


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return quantity(value, 5) if isinstance(value, float) else str(value)


class OutcomeCreate(FormPage):
    title = gettext_lazy("New outcome")
    form_class = OutcomeForm
    submit_label = gettext_lazy("Create")

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(UseCase.objects.all(), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return OutcomeForm(data, instance=Outcome(use_case=obj))

    def save(self, obj: Any, form: Any) -> str:
        made = services.outcome_create(actor=self.request.user, use_case=obj, **form.cleaned_data)
        return made.get_absolute_url()


class OutcomeEdit(UpdatePage):
    title = gettext_lazy("Change outcome")
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
    title = gettext_lazy("Baseline from readings")
    form_class = BaselineForm
    submit_label = gettext_lazy("Compute the baseline")

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

    def more(self, obj: Any) -> dict[str, Any]:
        return {"breadcrumbs": crumbs(obj, str(self.title))}


class ReadingCreate(FormPage):
    title = gettext_lazy("New KPI reading")
    form_class = ReadingForm
    submit_label = gettext_lazy("Add the reading")

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(Outcome.objects.select_related("use_case"), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = ReadingForm(data, instance=KpiReading(outcome=obj))
        limit_choices(form, self.request.user)
        return form

    def save(self, obj: Any, form: Any) -> str:
        services.reading_create(actor=self.request.user, outcome=obj, **form.cleaned_data)
        return obj.get_absolute_url()

    def more(self, obj: Any) -> dict[str, Any]:
        return {"breadcrumbs": crumbs(obj, str(self.title))}


READINGS = KpiReading.objects.select_related("outcome__use_case", "site")


class ReadingEdit(UpdatePage):
    title = gettext_lazy("Change KPI reading")
    model = KpiReading
    form_class = ReadingForm

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(READINGS, self.request.user, pk, self.verb)

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        reason = data.pop("reason", "")
        return services.reading_update(
            actor=self.request.user, reading=obj, data=data, expected_version=version, reason=reason
        )

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "version": self.request.POST.get("version") or obj.version,
            "breadcrumbs": crumbs(obj.outcome, str(self.title)),
        }


class ReadingDelete(FormPage):
    title = gettext_lazy("Delete KPI reading")
    form_class = ReadingDeleteForm
    submit_label = gettext_lazy("Delete the reading")
    success = gettext_lazy("Deleted.")

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(READINGS, self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return ReadingDeleteForm(data, outcome=obj.outcome)

    def save(self, obj: Any, form: Any) -> str:
        services.reading_delete(actor=self.request.user, reading=obj, **form.cleaned_data)
        return obj.get_absolute_url()

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "breadcrumbs": crumbs(obj.outcome, str(self.title)),
            "subtitle": _("{kpi}, {first} to {last}: {value} {unit} in {exposure} {exposure_unit}").format(
                kpi=obj.outcome.kpi,
                first=day_text(obj.period_from),
                last=day_text(obj.period_to),
                value=f"{obj.value:g}",
                unit=obj.outcome.unit,
                exposure=f"{obj.exposure:g}",
                exposure_unit=obj.outcome.exposure_unit,
            ),
        }
