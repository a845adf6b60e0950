"""One FilterSet per model, for page and API alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from django import forms
from django.utils.translation import gettext_lazy as _
from django_filters.fields import ModelChoiceField, ModelChoiceIterator

from devices.filters import contains, permitted_choices
from devices.models import Device, Site
from governance import choices
from governance.models import (
    Alert,
    Batch,
    Check,
    CheckResult,
    Dataset,
    DriftReport,
    Incident,
    Model,
    ModelVersion,
    Pipeline,
    Retraining,
    Slo,
    Stage,
)
from usecases.models import Adoption, UseCase

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


class OnceIterator(ModelChoiceIterator):
    """Reads the rows once a form; a template asks for them several times."""

    def __iter__(self) -> Any:
        if not hasattr(self.field, "_rows_read"):
            self.field._rows_read = list(super().__iter__())
        return iter(self.field._rows_read)


class OnceField(ModelChoiceField):
    iterator = OnceIterator


class OneOf(django_filters.ModelChoiceFilter):
    """One of the related rows that the asking person may see."""

    field_class = OnceField


def _adoptions(request: Any) -> Any:
    return permitted_choices(Adoption)(request).select_related("use_case", "site")


def _pipelines(request: Any) -> Any:
    return permitted_choices(Pipeline)(request).defer("policy_state", "reference")


SITES = permitted_choices(Site)
ADOPTIONS = _adoptions
PIPELINES = _pipelines


# The filters below are Any to the checker, because a page's filter takes one out of the API's by setting it to None.


def site(path: str) -> Any:
    return OneOf(field_name=path, queryset=SITES, label=_("Site"))


def adoption(path: str = "adoption") -> Any:
    return OneOf(field_name=path, queryset=ADOPTIONS, label=_("Adoption"))


def pipeline(path: str = "pipeline") -> Any:
    return OneOf(field_name=path, queryset=PIPELINES, label=_("Pipeline"))


def since(path: str, label: StrOrPromise) -> Any:
    return django_filters.IsoDateTimeFilter(field_name=path, lookup_expr="gte", label=label)


def until(path: str, label: StrOrPromise) -> Any:
    return django_filters.IsoDateTimeFilter(field_name=path, lookup_expr="lte", label=label)


def yes_no(label: StrOrPromise) -> Any:
    choices_shown = [("", _("Any")), ("true", _("Yes")), ("false", _("No"))]
    return django_filters.BooleanFilter(label=label, widget=forms.Select(choices=choices_shown))


class ModelFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label=_("Name or code"), max_length=120)
    use_case = OneOf(queryset=permitted_choices(UseCase), label=_("Use case"))
    kind = django_filters.ChoiceFilter(choices=choices.ModelKind.choices, label=_("Kind"))
    code = django_filters.CharFilter(label=_("Code"), max_length=60)
    search = contains("name", "code")

    class Meta:
        model = Model
        fields = ("q", "use_case", "kind", "code")


class ModelVersionFilter(django_filters.FilterSet):
    model = OneOf(queryset=permitted_choices(Model), label=_("Model"))
    state = django_filters.ChoiceFilter(choices=choices.VersionState.choices, label=_("State"))
    quantisation = django_filters.ChoiceFilter(choices=choices.Quantisation.choices, label=_("Quantisation"))
    adoption = adoption("model__pipelines__adoption")
    pipeline = pipeline("model__pipelines")

    class Meta:
        model = ModelVersion
        fields = ("model", "state", "quantisation", "adoption", "pipeline")


class PipelineFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label=_("Name or stream"), max_length=120)
    site = site("adoption__site")
    adoption = adoption()
    model = OneOf(queryset=permitted_choices(Model), label=_("Model"))
    search = contains("name", "stream")

    class Meta:
        model = Pipeline
        fields: tuple[str, ...] = ("q", "site", "adoption", "model")


class PipelinePageFilter(PipelineFilter):
    """The page's site is the one of the top bar."""

    site = None
    adoption = None

    class Meta(PipelineFilter.Meta):
        fields = ("q", "model")


class DatasetFilter(django_filters.FilterSet):
    site = site("stage__pipeline__adoption__site")
    adoption = adoption("stage__pipeline__adoption")
    pipeline = pipeline("stage__pipeline")

    class Meta:
        model = Dataset
        fields = ("site", "adoption", "pipeline")


class BatchFilter(django_filters.FilterSet):
    site = site("pipeline__adoption__site")
    adoption = adoption("pipeline__adoption")
    pipeline = pipeline()
    stage: Any = OneOf(queryset=permitted_choices(Stage), label=_("Stage"))
    kind = django_filters.ChoiceFilter(
        field_name="stage__kind", choices=choices.StageKind.choices, label=_("Kind of stage")
    )
    gateway = OneOf(queryset=permitted_choices(Device), label=_("Gateway"))
    model_version: Any = OneOf(queryset=permitted_choices(ModelVersion), label=_("Version"))
    plant_from = since("plant_to", _("Plant time from"))
    plant_to = until("plant_from", _("Plant time to"))

    class Meta:
        model = Batch
        fields: tuple[str, ...] = (
            "site",
            "adoption",
            "pipeline",
            "stage",
            "kind",
            "gateway",
            "model_version",
            "plant_from",
            "plant_to",
        )


class CheckFilter(django_filters.FilterSet):
    site = site("stage__pipeline__adoption__site")
    adoption = adoption("stage__pipeline__adoption")
    pipeline = pipeline("stage__pipeline")
    kind = django_filters.ChoiceFilter(choices=choices.CheckKind.choices, label=_("Kind"))
    enabled = yes_no(_("Switched on"))

    class Meta:
        model = Check
        fields: tuple[str, ...] = ("site", "adoption", "pipeline", "kind", "enabled")


class CheckPageFilter(CheckFilter):
    """The page's rows carry their newest state; its site is the one of the top bar."""

    site = None
    adoption = None
    state = django_filters.ChoiceFilter(choices=choices.CheckState.choices, label=_("State"))

    class Meta(CheckFilter.Meta):
        fields = ("state", "pipeline", "kind", "enabled")


class CheckResultFilter(django_filters.FilterSet):
    site = site("batch__pipeline__adoption__site")
    adoption = adoption("batch__pipeline__adoption")
    pipeline = pipeline("batch__pipeline")
    check = OneOf(field_name="stage_check", queryset=permitted_choices(Check), label=_("Check"))
    batch = OneOf(queryset=permitted_choices(Batch), label=_("Batch"))
    state = django_filters.ChoiceFilter(choices=choices.CheckState.choices, label=_("State"))
    plant_from = since("plant_at", _("Plant time from"))
    plant_to = until("plant_at", _("Plant time to"))

    class Meta:
        model = CheckResult
        fields = ("site", "adoption", "pipeline", "check", "batch", "state", "plant_from", "plant_to")


class DriftReportFilter(django_filters.FilterSet):
    site = site("pipeline__adoption__site")
    adoption = adoption("pipeline__adoption")
    pipeline = pipeline()
    kind = django_filters.ChoiceFilter(choices=choices.DriftKind.choices, label=_("Kind"))
    drifted = yes_no(_("Differs"))
    measured = yes_no(_("Measured"))
    plant_from = since("plant_to", _("Plant time from"))
    plant_to = until("plant_from", _("Plant time to"))

    class Meta:
        model = DriftReport
        fields: tuple[str, ...] = (
            "site",
            "adoption",
            "pipeline",
            "kind",
            "drifted",
            "measured",
            "plant_from",
            "plant_to",
        )


class SloFilter(django_filters.FilterSet):
    site = site("adoption__site")
    adoption = adoption()
    kind = django_filters.ChoiceFilter(choices=choices.SloKind.choices, label=_("Kind"))

    class Meta:
        model = Slo
        fields: tuple[str, ...] = ("site", "adoption", "kind")


class SloPageFilter(SloFilter):
    site = None
    adoption = None

    class Meta(SloFilter.Meta):
        fields = ("kind",)


class AlertFilter(django_filters.FilterSet):
    site = site("pipeline__adoption__site")
    adoption = adoption("pipeline__adoption")
    pipeline = pipeline()
    kind = django_filters.ChoiceFilter(choices=choices.AlertKind.choices, label=_("Kind"))
    state = django_filters.ChoiceFilter(choices=choices.AlertState.choices, label=_("State"))
    incident = OneOf(queryset=permitted_choices(Incident), label=_("Incident"))
    opened_from = since("opened_at", _("Opened from (wall time)"))
    opened_to = until("opened_at", _("Opened to (wall time)"))

    class Meta:
        model = Alert
        fields = ("site", "adoption", "pipeline", "kind", "state", "incident", "opened_from", "opened_to")


class IncidentFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label=_("Title or cause"), max_length=120)
    state = django_filters.ChoiceFilter(choices=choices.IncidentState.choices, label=_("State"))
    site = site("adoption__site")
    adoption = adoption()
    pipeline = pipeline()
    fast_forwarded = yes_no(_("While history was replayed at speed"))
    opened_from = since("opened_at", _("Opened from (wall time)"))
    opened_to = until("opened_at", _("Opened to (wall time)"))
    search = contains("title", "cause")

    class Meta:
        model = Incident
        fields: tuple[str, ...] = (
            "q",
            "state",
            "site",
            "adoption",
            "pipeline",
            "fast_forwarded",
            "opened_from",
            "opened_to",
        )


class IncidentPageFilter(IncidentFilter):
    site = None
    adoption = None
    opened_from = None
    opened_to = None

    class Meta(IncidentFilter.Meta):
        fields = ("q", "state", "pipeline", "fast_forwarded")


class RetrainingFilter(django_filters.FilterSet):
    site = site("pipeline__adoption__site")
    adoption = adoption("pipeline__adoption")
    pipeline = pipeline()
    state = django_filters.ChoiceFilter(choices=choices.RetrainingState.choices, label=_("State"))
    incident = OneOf(queryset=permitted_choices(Incident), label=_("Incident"))
    created_from = since("created_at", _("From (wall time)"))
    created_to = until("created_at", _("To (wall time)"))

    class Meta:
        model = Retraining
        fields = ("site", "adoption", "pipeline", "state", "incident", "created_from", "created_to")


class BatchPageFilter(BatchFilter):
    site = None
    stage = None
    adoption = None
    model_version = None
    plant_from = None
    plant_to = None

    class Meta(BatchFilter.Meta):
        fields = ("pipeline", "kind", "gateway")


class DriftPageFilter(DriftReportFilter):
    site = None
    adoption = None
    plant_from = None
    plant_to = None

    class Meta(DriftReportFilter.Meta):
        fields = ("pipeline", "kind", "drifted", "measured")
