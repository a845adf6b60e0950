"""Models, their versions, signatures and the standing approval."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _l

from governance import artefacts
from governance.choices import VersionState
from governance.filters import ModelFilter
from governance.forms import StandingApprovalForm, WithdrawForm
from governance.models import Batch, Model, ModelVersion, Pipeline
from governance.recipes import RECIPES
from governance.selectors import models as reads
from governance.selectors import setup as setup_reads
from governance.services import versions as services
from governance.services.commissioning import commissioned
from governance.tables import ModelTable, VersionTable
from governance.views.live import link, plant_fact, wall_fact
from portal.core import signing
from portal.core.access import get_permitted, who_may
from portal.core.clock import wall_now
from portal.core.errors import DomainError
from portal.core.pages import ActionPage, DetailPage, FormPage, ListPage, Page
from usecases.models import Adoption, UseCase


class ModelList(ListPage):
    title = _l("Models")
    model = Model
    table_class = ModelTable
    filterset_class = ModelFilter
    create_url_name = "governance:model-create"
    create_label = _l("Set up a model")
    empty: ClassVar[dict[str, Any]] = {
        "title": _l("No model is set up yet"),
        "text": _l("It says which channels are read and what is predicted. Its pipeline and first version follow."),
        "icon": "model",
        "phase": 2,
    }

    def create_url(self) -> str | None:
        return super().create_url() if UseCase.objects.permitted(self.request.user, "change").exists() else None

    def rows(self) -> Any:
        rows = reads.models_for(self.request.user)
        return rows.filter(pipelines__adoption__site_id=self.site_id).distinct() if self.site_id else rows


class ModelPage(DetailPage):
    """The contract, the versions and where they run, the standing approval, whether it is commissioned."""

    model = Model
    template = "governance/model.html"

    def get_queryset(self) -> Any:
        return Model.objects.select_related("use_case", "standing_approval_by")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Models"), reverse("governance:models")), (_("Model"), "")]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        recipe = RECIPES.get(obj.recipe)
        limit = f"{obj.error_limit:g} {obj.unit}" if obj.error_limit is not None else ""
        return [
            (_("Use case"), link(obj.use_case)),
            (_("Kind"), obj.get_kind_display()),
            (_("Inputs in order"), ", ".join(obj.features)),
            (_("Target"), f"{obj.target} ({obj.unit})" if obj.target else _("none: it learns what healthy looks like")),
            (_("Acceptable mean error"), limit),
            (_("How it is trained"), recipe.label if recipe else obj.recipe),
            (_("In the registry"), obj.registry_name or obj.code),
        ]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self.may(obj, "change"):
            found.append({"label": _("Change"), "url": reverse("governance:model-edit", args=[obj.pk]), "icon": "edit"})
        return [*found, *self.rehearsals(obj), *self.approvals(obj)]

    def rehearsals(self, obj: Any) -> list[dict[str, Any]]:
        """A retraining by hand for each commissioned pipeline of a model that learns from labels."""
        states = [(p, p.policy_state or {}) for p in self.pipelines(obj)]
        ready = [p for p, state in states if state.get("policy") and state.get("champions")]
        if not ready:
            return []
        mine = set(
            Pipeline.objects.permitted(self.request.user, "retrain").filter(model=obj).values_list("pk", flat=True)
        )
        refused = _("You may look at this but not retrain it. %(who)s may: ask one of them.") % {
            "who": setup_reads.one_of(who_may(Pipeline, "retrain"))
        }
        found = []
        for pipeline in ready:
            label = _("Retrain now") if len(ready) == 1 else _("Retrain at %(site)s") % {"site": pipeline.adoption.site}
            url = reverse("governance:pipeline-retrain", args=[pipeline.pk])
            may = pipeline.pk in mine
            found.append({"label": label, "icon": "retraining"} | ({"url": url} if may else {"refused": refused}))
        return found

    def pipelines(self, obj: Any) -> list[Any]:
        """Read once for the actions and the page."""
        if not hasattr(self, "_pipelines"):
            self._pipelines = setup_reads.pipelines_of(self.request.user, obj)
        return self._pipelines

    def approvals(self, obj: Any) -> list[dict[str, Any]]:
        verdict = signing.may_sign(user=self.request.user, kind="model_version")
        standing = obj.standing_approval_by_id is not None
        label = _("Renew the standing approval") if standing else _("Grant a standing approval")
        url = reverse("governance:model-approve", args=[obj.pk])
        if not verdict.allowed:
            return [{"label": label, "refused": verdict.reason, "icon": "sign"}]
        found: list[dict[str, Any]] = [{"label": label, "url": url, "icon": "sign"}]
        if standing:
            url = reverse("governance:model-approval-revoke", args=[obj.pk])
            found.append({"label": _("Revoke it"), "url": url, "method": "post", "danger": True})
        return found

    def more(self, obj: Any) -> dict[str, Any]:
        versions = list(obj.versions.order_by("-number"))
        pipelines = self.pipelines(obj)
        runs: dict[str, list[str]] = defaultdict(list)
        for pipeline in pipelines:
            champions = (pipeline.policy_state or {}).get("champions") or []
            if champions:
                runs[champions[-1]["version"]].append(str(pipeline.adoption.site))
        for version in versions:
            version.model = obj
            version.where = ", ".join(sorted(set(runs[str(version.pk)])))
        live = next((v for v in versions if v.state == VersionState.LIVE), None)
        now = wall_now()
        holds = obj.standing_approval_until is not None and obj.standing_approval_until > now
        return {
            "subtitle": str(obj.use_case),
            "state": {
                "state": "live" if live else "not_measured",
                "label": _("v%(n)s live") % {"n": live.number} if live else _("No version live"),
            },
            "table": VersionTable(versions, request=self.request),
            "versions": versions,
            "pipelines": [
                {
                    "pipeline": p,
                    "commissioned": commissioned(p),
                    "slos": p.slo_count,
                }
                for p in pipelines
            ],
            "approval_holds": holds,
            "steps": setup_reads.setup_steps(self.request.user, obj, versions, pipelines),
            "pipeline_url": reverse("governance:pipeline-create", args=[obj.pk])
            if pipelines and self.may(pipelines[0].adoption.site, "change")
            else "",
        }


class VersionPage(DetailPage):
    """Figures, quantisation, package and signature, lineage; sign, withdraw, download."""

    model = ModelVersion
    template = "governance/version.html"

    def get_queryset(self) -> Any:
        return ModelVersion.objects.select_related("model__use_case", "signed_by", "predecessor__model")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Models"), reverse("governance:models")), (_("Version"), "")]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [
            (_("Model"), link(obj.model)),
            (_("Trained"), wall_fact(obj.trained_at)),
            (_("Training rows"), f"{obj.training_rows:,}"),
            (_("Rows from"), plant_fact(obj.trained_from)),
            (_("Rows to"), plant_fact(obj.trained_to)),
            (_("File"), f"{obj.size_bytes / 1024:,.1f} KiB"),
            (_("Memory"), f"{obj.memory_kb:,} KiB" if obj.memory_kb else ""),
            (_("Time a row"), f"{obj.latency_us:,.0f} µs" if obj.latency_us else ""),
            (_("Predecessor"), link(obj.predecessor)),
            (_("Registry version"), obj.registry_version),
            (_("MLflow run"), obj.registry_run_id),
        ]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        verdict = signing.may_sign(user=self.request.user, kind="model_version")
        if obj.state == VersionState.CANDIDATE:
            action: dict[str, Any] = {"label": _("Sign"), "icon": "sign", "primary": True}
            url = reverse("governance:version-sign", args=[obj.pk])
            found.append(action | ({"url": url, "method": "post"} if verdict.allowed else {"refused": verdict.reason}))
        if obj.state == VersionState.APPROVED:
            found += self.releases(obj)
        if obj.state not in {VersionState.REFUSED, VersionState.WITHDRAWN}:
            action = {"label": _("Withdraw"), "danger": True, "icon": "stop"}
            url = reverse("governance:version-withdraw", args=[obj.pk])
            found.append(action | ({"url": url} if verdict.allowed else {"refused": verdict.reason}))
        url = reverse("governance:version-file", args=[obj.pk])
        return [*found, {"label": _("Download ONNX"), "url": url, "icon": "download"}]

    def releases(self, obj: Any) -> list[dict[str, Any]]:
        """The way to the gateways of each adoption at which the person may operate."""
        adoptions = (
            Adoption.objects.permitted(self.request.user, "operate").filter(pipelines__model=obj.model_id).distinct()
        )
        rows = list(adoptions.select_related("site")[:5])
        found = []
        for adoption in rows:
            label = _("Roll out") if len(rows) == 1 else _("Roll out at %(site)s") % {"site": adoption.site}
            url = setup_reads.release_url(obj, adoption)
            if url:
                found.append({"label": label, "url": url, "icon": "rollout", "primary": True})
        return found

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "subtitle": reads.quality(obj.metrics, obj.model.unit),
            "state": {"state": obj.state, "label": obj.get_state_display()},
            "metrics": reads.metric_rows(obj),
            "quantisation": reads.quantisation_rows(obj),
            "verification": reads.verification(obj),
            "batches": Batch.objects.filter(model_version=obj, stage__kind="prediction")
            .select_related("pipeline", "gateway", "stage")
            .defer("pipeline__policy_state")
            .order_by("-plant_to")[:5],
        }


class VersionFile(Page):
    """The ONNX file, checked against its hash on the way out."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        version = get_permitted(ModelVersion.objects.select_related("model"), request.user, pk)
        response = HttpResponse(artefacts.load(version.sha256), content_type="application/octet-stream")
        response["Content-Disposition"] = f'attachment; filename="{version.model.code}-v{version.number}.onnx"'
        response["ETag"] = f'"{version.sha256}"'
        return response


class VersionSign(ActionPage):
    """Seeing the version is enough to ask; who may sign is the signing rule's business."""

    model = ModelVersion
    verb = "view"
    success = _l("Signed. It may be rolled out now.")

    def act(self, obj: Any) -> None:
        services.version_sign(actor=self.request.user, version=obj)


class VersionWithdraw(FormPage):
    title = _l("Withdraw a version")
    form_class = WithdrawForm
    submit_label = _l("Withdraw")
    success = _l("Withdrawn. It can no longer be rolled out.")

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(ModelVersion.objects.select_related("model"), self.request.user, pk)

    def save(self, obj: Any, form: Any) -> str:
        services.version_withdraw(actor=self.request.user, version=obj, reason=form.cleaned_data["reason"])
        return obj.get_absolute_url()


class StandingApprovalGrant(FormPage):
    title = _l("Grant a standing approval")
    form_class = StandingApprovalForm
    submit_label = _l("Grant")
    success = _l("Granted: challengers that pass every check go out by themselves until then.")

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(Model.objects.all(), self.request.user, pk)

    def save(self, obj: Any, form: Any) -> str:
        services.standing_approval_grant(actor=self.request.user, model=obj, until=form.cleaned_data["until"])
        return obj.get_absolute_url()


class StandingApprovalRevoke(ActionPage):
    model = Model
    verb = "view"
    success = _l("Revoked: each new version waits for a signature again.")

    def act(self, obj: Any) -> None:
        require_signer(self.request.user)
        services.standing_approval_revoke(actor=self.request.user, model=obj)


def require_signer(user: Any) -> None:
    """Raise unless this person may sign models now: whoever may not grant an approval may not take it back."""
    verdict = signing.may_sign(user=user, kind="model_version")
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, status=403)
