"""Adoptions: the list, a use case adopted at a site, its gates with their evidence."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core.access import get_permitted
from portal.core.pages import DetailPage, FormPage, ListPage, PanelsPart, UpdatePage, limit_choices
from usecases import selectors, services
from usecases.choices import GateState
from usecases.filters import AdoptionFilter
from usecases.forms import AdoptionEditForm, AdoptionForm
from usecases.models import Adoption, Gate, UseCase
from usecases.tables import AdoptionTable


class AdoptionsPage(ListPage):
    title = "Adoptions"
    model = Adoption
    table_class = AdoptionTable
    filterset_class = AdoptionFilter
    site_path = "site_id"
    empty = "No use case is adopted at a site yet."

    def get_queryset(self) -> Any:
        return Adoption.objects.select_related("use_case", "site", "location")


class AdoptionCreate(FormPage):
    title = "Adopt at a site"
    form_class = AdoptionForm
    submit_label = "Adopt"

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(UseCase.objects.all(), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form: Any = AdoptionForm(data, instance=Adoption(use_case=obj))
        limit_choices(form, self.request.user)
        form.fields["proven_by"].queryset = form.fields["proven_by"].queryset.filter(use_case=obj)
        return form

    def save(self, obj: Any, form: Any) -> str:
        data = dict(form.cleaned_data)
        return services.adoption_create(actor=self.request.user, use_case=obj, **data).get_absolute_url()


class AdoptionEdit(UpdatePage):
    title = "Change adoption"
    model = Adoption
    form_class = AdoptionEditForm

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        return services.adoption_update(
            actor=self.request.user, adoption=obj, data=data, many=many, expected_version=version
        )

    def more(self, obj: Any) -> dict[str, Any]:
        return {"version": self.request.POST.get("version") or obj.version}


class AdoptionPage(DetailPage):
    model = Adoption
    template = "usecases/adoption.html"
    panels_url_name = "usecases:adoption-panels"
    asks = ("change",)

    def get_queryset(self) -> Any:
        return selectors.with_health(
            Adoption.objects.select_related("use_case", "site", "location", "proven_by__site", "proven_by__use_case")
        )

    def facts(self, obj: Adoption) -> list[tuple[str, Any]]:
        return [
            (_("Site"), obj.site),
            (_("Scope"), obj.get_scope_display()),
            (_("Place"), obj.location or ""),
            (_("Proven by"), obj.proven_by or ""),
            (_("Started"), obj.started_on or ""),
            (_("Data"), obj.site.data_notice),
        ]

    def actions(self, obj: Adoption) -> list[dict[str, Any]]:
        if not self.may(obj, "change"):
            return []
        return [{"label": _("Change"), "url": reverse("usecases:adoption-edit", args=[obj.pk]), "icon": "edit"}]

    def more(self, obj: Any) -> dict[str, Any]:
        gates = list(Gate.objects.filter(adoption=obj).select_related("use_case").order_by("number"))
        for gate in gates:
            gate.adoption = obj
        reopened = [g for g in gates if g.state == GateState.REOPENED]
        ahead = [g for g in gates if g.number >= obj.phase]
        shown = next(iter([*reopened, *ahead, *gates[-1:]]), None)
        rows = selectors.evidence_rows(shown) if shown is not None else []
        kind = obj.site.kind
        return {
            "breadcrumbs": [
                (_("Use cases"), reverse("usecases:use-cases")),
                (str(obj.use_case), obj.use_case.get_absolute_url()),
                (str(obj.site), ""),
            ],
            "gates": selectors.stepper(gates, obj.phase),
            "gate": shown,
            "rows": rows,
            "summary": selectors.evidence_summary(rows),
            "state": {
                "state": obj.health,
                "label": {"ok": _("Healthy"), "unknown": _("No gate passed yet")}.get(obj.health, ""),
            },
            "origin": kind if kind in {"replay", "simulated"} else "",
            "origin_label": obj.site.get_kind_display(),
            "devices": list(obj.devices.select_related("device_type", "location")[:50]),
            "wider": list(obj.widened_to.select_related("site", "use_case")),
        }


class AdoptionPanels(PanelsPart):
    model = Adoption

    def get_queryset(self) -> Any:
        return Adoption.objects.select_related("use_case", "site")

    def trail(self) -> list[tuple[str, str]]:
        return [(_("Adoptions"), reverse("usecases:adoptions"))]
