"""Tables of the pages and of their exports."""

from __future__ import annotations

from typing import Any

import django_tables2 as tables
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from governance import choices
from governance.models import Batch, Check, CheckResult, DriftReport, Incident, Model, ModelVersion, Pipeline, Slo
from governance.selectors import models as model_reads
from governance.selectors import slos as slo_reads
from governance.selectors import trust
from governance.words import drift_sentence
from portal.core.clock import rfc3339
from portal.core.templatetags.phasegate import age, duration, plant, quantity

NUM = {"td": {"class": "pg-num"}, "th": {"class": "pg-num"}}


class StatusColumn(tables.Column):
    """Icon, word and colour; the export has the word. Compiled once, not for every cell."""

    def __init__(self, source: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._labels = dict(source.choices)

    def render(self, record: Any, bound_column: Any) -> Any:
        # The value that a cell gets is the word already; the icon needs what is stored.
        state = bound_column.accessor.resolve(record)
        label = self._labels.get(state, "")
        return render_to_string("components/status.html", {"state": state, "label": str(label)})

    def value(self, record: Any, bound_column: Any) -> Any:
        state = bound_column.accessor.resolve(record)
        return str(self._labels.get(state, state))


class TimeColumn(tables.Column):
    """An age with the exact time on hover; the export has the exact time."""

    def render(self, value: Any) -> Any:
        return age(value)

    def value(self, value: Any) -> Any:
        return rfc3339(value) if value else ""


class PlantColumn(tables.Column):
    """A moment of plant time; the export has it as RFC 3339."""

    def render(self, value: Any) -> Any:
        return plant(value)

    def value(self, value: Any) -> Any:
        return rfc3339(value) if value else ""


class NumberColumn(tables.Column):
    """A number to three digits; the export has it whole."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(attrs=NUM, **kwargs)

    def render(self, value: Any) -> Any:
        return quantity(value)

    def value(self, value: Any) -> Any:
        return value


def linked(record: Any) -> str:
    return record.get_absolute_url()


class ModelTable(tables.Table):
    name = tables.Column(linkify=True, verbose_name=_("Model"))
    use_case = tables.Column(accessor="use_case__title", verbose_name=_("Use case"))
    live = tables.Column(accessor="live_number", verbose_name=_("Live version"), empty_values=())
    quality = tables.Column(accessor="live_metrics", verbose_name=_("How good"), empty_values=(), orderable=False)
    live_quantisation = tables.Column(verbose_name=_("Quantisation"), orderable=False)
    versions_count = tables.Column(verbose_name=_("Versions"), attrs=NUM)
    refused_count = tables.Column(verbose_name=_("of them refused"), attrs=NUM)

    class Meta:
        model = Model
        fields = ("name", "use_case", "kind", "live", "quality", "live_quantisation", "versions_count", "refused_count")
        row_attrs = {"data-href": linked}

    def render_live(self, record: Any) -> str:
        return f"v{record.live_number}" if record.live_number else str(_("none yet"))

    def render_quality(self, record: Any) -> str:
        return model_reads.quality(record.live_metrics, record.unit) or "–"

    def render_live_quantisation(self, value: Any) -> str:
        return str(choices.Quantisation(value).label)


class VersionTable(tables.Table):
    number = tables.Column(linkify=True, verbose_name=_("Version"))
    state = StatusColumn(choices.VersionState)
    quality = tables.Column(accessor="metrics", verbose_name=_("How good"), orderable=False)
    size_bytes = tables.Column(verbose_name=_("File (KiB)"), attrs=NUM)
    trained_at = TimeColumn(verbose_name=_("Trained"))
    where = tables.Column(empty_values=(), verbose_name=_("Runs at"), orderable=False)

    class Meta:
        model = ModelVersion
        fields = ("number", "state", "quality", "quantisation", "size_bytes", "training_rows", "trained_at", "where")
        orderable = False
        row_attrs = {"data-href": linked}

    def render_number(self, value: Any) -> str:
        return f"v{value}"

    def render_quality(self, record: Any) -> str:
        return model_reads.quality(record.metrics, record.model.unit) or "–"

    def render_size_bytes(self, value: Any) -> str:
        return f"{value / 1024:,.0f}"

    def render_where(self, record: Any) -> str:
        return getattr(record, "where", "") or "–"


class PipelineTable(tables.Table):
    name = tables.Column(linkify=True, verbose_name=_("Pipeline"))
    adoption = tables.Column(accessor="adoption__use_case__title", verbose_name=_("Use case"))
    site = tables.Column(accessor="adoption__site__name", verbose_name=_("Site"))
    model = tables.Column(accessor="model__name", verbose_name=_("Model"))
    freshness = tables.Column(accessor="newest_at", verbose_name=_("Newest row"), empty_values=())
    expected = tables.Column(accessor="expected_period_s", verbose_name=_("One row every"))

    class Meta:
        model = Pipeline
        fields = ("name", "adoption", "site", "model", "stream", "freshness", "expected")
        row_attrs = {"data-href": linked}

    def render_freshness(self, record: Any) -> Any:
        fresh = trust.freshness(record)
        return format_html("{} <span class='pg-quiet'>{}</span>", plant(fresh.at), fresh.text)

    def value_freshness(self, record: Any) -> str:
        return rfc3339(record.newest_at) if record.newest_at else ""

    def render_expected(self, value: Any) -> str:
        return f"{duration(value)} ({_('plant time')})"


class BatchTable(tables.Table):
    stage = tables.Column(
        accessor="stage__name", linkify=lambda record: record.get_absolute_url(), verbose_name=_("Batch of")
    )
    pipeline = tables.Column(accessor="pipeline__name", verbose_name=_("Pipeline"))
    gateway = tables.Column(accessor="gateway__name", verbose_name=_("Gateway"), default="–")
    rows = tables.Column(attrs=NUM)
    rows_refused = tables.Column(verbose_name=_("refused"), attrs=NUM)
    plant_from = PlantColumn(verbose_name=_("From (plant time)"))
    plant_to = PlantColumn(verbose_name=_("To (plant time)"))
    received_at = TimeColumn(verbose_name=_("Received"))

    class Meta:
        model = Batch
        fields = ("stage", "pipeline", "gateway", "rows", "rows_refused", "plant_from", "plant_to", "received_at")
        row_attrs = {"data-href": linked}


class CheckTable(tables.Table):
    name = tables.Column(linkify=True, verbose_name=_("Check"))
    state = StatusColumn(choices.CheckState, default=_("No result yet"))
    pipeline = tables.Column(accessor="stage__pipeline__name", verbose_name=_("Pipeline"))
    stage = tables.Column(accessor="stage__name", verbose_name=_("Stage"))
    site = tables.Column(accessor="stage__pipeline__adoption__site__name", verbose_name=_("Site"))
    state_text = tables.Column(verbose_name=_("What it found"), default="–", orderable=False)
    state_at = PlantColumn(verbose_name=_("Newest (plant time)"))

    class Meta:
        model = Check
        fields = ("name", "state", "kind", "pipeline", "stage", "site", "state_text", "state_at", "enabled")
        row_attrs = {"data-href": linked}


class CheckResultTable(tables.Table):
    batch = tables.Column(linkify=lambda record: record.batch.get_absolute_url(), verbose_name=_("Batch"))
    state = StatusColumn(choices.CheckState)
    failed_rows = tables.Column(verbose_name=_("Bad rows"), attrs=NUM)
    text = tables.Column(verbose_name=_("What it found"), default="–")
    plant_at = PlantColumn(verbose_name=_("Plant time"))

    class Meta:
        model = CheckResult
        fields = ("batch", "state", "failed_rows", "text", "plant_at")
        orderable = False


class DriftTable(tables.Table):
    kind = tables.Column(linkify=lambda record: record.get_absolute_url(), verbose_name=_("Kind"))
    pipeline = tables.Column(accessor="pipeline__name", verbose_name=_("Pipeline"))
    finding = tables.Column(empty_values=(), verbose_name=_("Finding"), orderable=False)
    value = NumberColumn(verbose_name=_("Measured"))
    limit = NumberColumn(verbose_name=_("Limit"))
    plant_from = PlantColumn(verbose_name=_("From (plant time)"))
    plant_to = PlantColumn(verbose_name=_("To (plant time)"))

    class Meta:
        model = DriftReport
        fields = ("kind", "pipeline", "finding", "value", "limit", "rows", "plant_from", "plant_to")
        row_attrs = {"data-href": linked}

    def render_finding(self, record: Any) -> str:
        return drift_sentence(record, record.pipeline.model.unit)

    def value_finding(self, record: Any) -> str:
        return drift_sentence(record, record.pipeline.model.unit)


class SloTable(tables.Table):
    name = tables.Column(linkify=True, verbose_name=_("SLO"))
    adoption = tables.Column(accessor="adoption__use_case__title", verbose_name=_("Use case"))
    site = tables.Column(accessor="adoption__site__name", verbose_name=_("Site"))
    target = tables.Column(attrs=NUM)
    budget = tables.Column(empty_values=(), verbose_name=_("Budget"), orderable=False)
    state = tables.Column(empty_values=(), verbose_name=_("State"), orderable=False)
    owners = tables.Column(empty_values=(), verbose_name=_("Owners"), orderable=False)

    class Meta:
        model = Slo
        fields = ("name", "adoption", "site", "target", "budget", "state", "owners")
        row_attrs = {"data-href": linked}

    def render_target(self, value: Any) -> str:
        return f"{100 * value:g} %"

    def value_target(self, value: Any) -> Any:
        return value

    def card(self, record: Any) -> dict[str, Any]:
        """The status of a row, read once for all rows that are shown."""
        if not hasattr(self, "_cards"):
            rows = self.paginated_rows if hasattr(self, "paginator") else self.rows
            self._cards = {row["slo"].pk: row for row in slo_reads.slo_cards([bound.record for bound in rows])}
        return self._cards[record.pk]

    def render_budget(self, record: Any) -> str:
        return str(self.card(record)["sentence"])

    def render_state(self, record: Any) -> Any:
        card = self.card(record)
        return render_to_string("components/status.html", {"state": card["state"], "label": card["state_label"]})

    def value_state(self, record: Any) -> str:
        return str(self.card(record)["state_label"])

    def render_owners(self, record: Any) -> str:
        missing = str(_("nobody"))
        return f"{record.ot_owner or missing} · {record.ds_owner or missing}"


class IncidentTable(tables.Table):
    title = tables.Column(linkify=True, verbose_name=_("Incident"))
    state = StatusColumn(choices.IncidentState)
    site = tables.Column(accessor="adoption__site__name", verbose_name=_("Site"))
    use_case = tables.Column(accessor="adoption__use_case__title", verbose_name=_("Use case"))
    began_plant_at = PlantColumn(verbose_name=_("Began (plant time)"))
    opened_at = TimeColumn(verbose_name=_("Alerted (wall time)"))
    repair = tables.Column(
        accessor="live_at", empty_values=(), verbose_name=_("Alert to live (wall time)"), orderable=False
    )
    acknowledged_by = tables.Column(verbose_name=_("Taken by"), default="–")

    class Meta:
        model = Incident
        fields = ("title", "state", "site", "use_case", "began_plant_at", "opened_at", "repair", "acknowledged_by")
        row_attrs = {"data-href": linked}

    def render_repair(self, record: Any) -> str:
        if record.live_at is None:
            return "–"
        took = duration((record.live_at - record.opened_at).total_seconds())
        return f"{took} ({_('of the replay')})" if record.fast_forwarded else took
