"""Setting up: a model, its pipeline, its first version; and a rehearsal of the repair."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _l

from governance.choices import StageKind
from governance.models import Model, Pipeline
from governance.selectors import setup as reads
from governance.services import commissioning, retraining, setup
from governance.setup_forms import CommissionForm, ModelSetupForm, PipelineForm, RehearsalForm
from portal.core.access import get_permitted, require
from portal.core.pages import CreatePage, FormPage, UpdatePage, sent_version
from usecases.models import UseCase


def _models() -> tuple[str, str]:
    return (_("Models"), reverse("governance:models"))


class ModelCreate(CreatePage):
    title = _l("Set up a model")
    model = Model
    form_class = ModelSetupForm
    submit_label = _l("Set it up")
    success = _l("Set up. Next: its pipeline.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [_models(), (_("Set up"), "")]

    def use_case(self) -> UseCase | None:
        """The use case whose page asked."""
        asked = self.request.GET.get("use_case")
        return get_permitted(UseCase.objects.all(), self.request.user, asked) if asked else None

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return ModelSetupForm(data, user=self.request.user, use_case=None if data else self.use_case())

    def save(self, obj: Any, form: Any) -> str:
        data = dict(form.cleaned_data)
        require(data["use_case"], self.request.user, "change")
        return setup.model_create(actor=self.request.user, **data).get_absolute_url()

    def cancel_url(self, obj: Any) -> str:
        return reverse("governance:models")


class ModelEdit(UpdatePage):
    title = _l("Change a model")
    model = Model
    form_class = ModelSetupForm
    success = _l("Saved.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [_models(), (_("Change"), "")]

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return ModelSetupForm(data, instance=obj, user=self.request.user)

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        return setup.model_update(actor=self.request.user, model=obj, data=data, expected_version=version)

    def more(self, obj: Any) -> dict[str, Any]:
        return {"fixed": setup.contract_fixed(obj), "before": "governance/_fixed_contract.html"}

    template = "governance/setup_form.html"


class PipelineCreate(FormPage):
    title = _l("Set up a pipeline")
    form_class = PipelineForm
    submit_label = _l("Set it up")
    success = _l("Set up with its checks. The rows of its source are taken in from now on.")
    template = "governance/setup_form.html"

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [_models(), (_("Pipeline"), "")]

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(Model.objects.select_related("use_case"), self.request.user, pk)

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        initial = {name: self.request.GET[name] for name in ("adoption", "source") if name in self.request.GET}
        return PipelineForm(data, model=obj, user=self.request.user, initial=initial)

    def more(self, obj: Any) -> dict[str, Any]:
        return {"subject": obj, "before": "governance/_pipeline_before.html", "version": "", "subtitle": obj.name}

    def save(self, obj: Any, form: Any) -> str:
        data = {k: form.cleaned_data[k] for k in ("adoption", "source", "name", "expected_period_s", "owner")}
        require(data["adoption"].site, self.request.user, "change")
        made = setup.pipeline_create(actor=self.request.user, model=obj, **data, **form.settings())
        return made.get_absolute_url()


class PipelineEdit(UpdatePage):
    title = _l("Change a pipeline")
    model = Pipeline
    form_class = PipelineForm
    success = _l("Saved.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Pipelines"), reverse("governance:pipelines")), (_("Change"), "")]

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(Pipeline.objects.select_related("model", "adoption"), self.request.user, pk, self.verb)

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return PipelineForm(data, model=obj.model, user=self.request.user, pipeline=obj)

    def save(self, obj: Any, form: Any) -> str:
        data = {k: form.cleaned_data[k] for k in ("name", "expected_period_s", "owner")}
        fresh = Pipeline.objects.get(pk=obj.pk)
        return setup.pipeline_update(
            actor=self.request.user,
            pipeline=fresh,
            data=data,
            expected_version=sent_version(self.request),
            **form.settings(),
        ).get_absolute_url()


class PipelineCommission(FormPage):
    """Asks for the first version; the work is a job that one can leave."""

    title = _l("Commission the first version")
    form_class = CommissionForm
    submit_label = _l("Commission")
    success = _l("It has begun. You can leave this page.")
    template = "governance/setup_form.html"

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Pipelines"), reverse("governance:pipelines")), (_("Commission"), "")]

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        rows = Pipeline.objects.select_related("model", "adoption__site", "adoption__use_case")
        return get_permitted(rows, self.request.user, pk, "commission")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return CommissionForm(data, files, model=obj.model)

    def more(self, obj: Any) -> dict[str, Any]:
        counted = reads.rows_on_record(obj)
        least, wanted = commissioning.rows_needed(obj)
        return {
            "subject": obj,
            "before": "governance/_commission_before.html",
            "version": "",
            "rows": counted[StageKind.WINDOW],
            "labels": counted[StageKind.LABEL],
            "enough": min(counted[StageKind.WINDOW], counted[StageKind.LABEL] if obj.model.target else wanted)
            >= wanted,
            "needed": least,
            "needed_text": f"{wanted:,}",
            "needed_note": _("for its limits, with the windows chosen") if wanted > least else "",
            "subtitle": f"{obj.name} · {obj.model}",
            "done": commissioning.commissioned(obj),
            "job": reads.open_job(obj),
        }

    def save(self, obj: Any, form: Any) -> str:
        data = dict(form.cleaned_data)
        upload = data.pop("onnx")
        job = commissioning.commission_start(
            actor=self.request.user, pipeline=obj, onnx=upload.read() if upload is not None else None, **data
        )
        return reverse("core:job", args=[job.pk])


class PipelineRetrain(FormPage):
    """A rehearsal: a retraining that a person asks for."""

    title = _l("Retrain now")
    form_class = RehearsalForm
    submit_label = _l("Retrain now")
    success = _l("It has begun: each step shows here as it is done.")
    template = "governance/setup_form.html"

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Pipelines"), reverse("governance:pipelines")), (_("Retrain"), "")]

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        rows = Pipeline.objects.select_related("model", "adoption__site")
        return get_permitted(rows, self.request.user, pk, "retrain")

    def more(self, obj: Any) -> dict[str, Any]:
        config = setup.retraining_of(obj)
        return {
            "subject": obj,
            "before": "governance/_retrain_before.html",
            "version": "",
            "subtitle": obj.name,
            "running": retraining.under_way(obj),
            "commissioned": commissioning.commissioned(obj),
            "train_rows": f"{config['train_rows']:,}",
            "holdout": f"{config['holdout']:,}",
        }

    def save(self, obj: Any, form: Any) -> str:
        made, _job = retraining.retraining_rehearse(
            actor=self.request.user, pipeline=obj, reason=form.cleaned_data["reason"]
        )
        return made.get_absolute_url()
