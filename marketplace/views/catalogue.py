"""The catalogue: services, their plans, publishing, subscribing."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.db.models import OuterRef, Subquery
from django.urls import reverse
from django.utils.translation import gettext as _

from governance.choices import VersionState
from governance.models import ModelVersion
from marketplace import selectors, services
from marketplace.choices import ServiceState, SubscriptionState
from marketplace.contract import MAX_ROWS
from marketplace.filters import ServiceFilter
from marketplace.forms import PartnerForm, PlanForm, ServiceEditForm, ServiceForm, SubscribeForm
from marketplace.models import Plan, Service, Subscription
from marketplace.services.offers import publish_obstacles
from marketplace.tables import ServiceTable
from marketplace.views.common import ConfirmPage
from portal.core.access import get_permitted, may, require
from portal.core.clock import day_text
from portal.core.errors import DomainError
from portal.core.pages import ActionPage, CreatePage, DetailPage, FormPage, ListPage, UpdatePage, sent_version


class CataloguePage(ListPage):
    title = "Catalogue"
    model = Service
    table_class = ServiceTable
    filterset_class = ServiceFilter
    create_url_name = "marketplace:service-create"
    create_label = "New service"
    create_permission = "marketplace.add_service"
    export_name = "catalogue"

    @property
    def empty(self) -> Any:  # type: ignore[override]
        return {
            "title": _("No service yet"),
            "text": _("A use case that is past gate 5 can be offered here as a service; ask its owner for access."),
            "icon": "service",
            "phase": 5,
        }

    def rows(self) -> Any:
        return selectors.catalogue(self.request.user)


class ServiceCreate(CreatePage):
    title = "New service"
    model = Service
    form_class = ServiceForm
    create_permission = "marketplace.add_service"
    container_field = "use_case"

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Catalogue"), reverse("marketplace:catalogue")), (_("New service"), "")]

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = super().get_form(obj, data, files)
        form.fields["use_case"].queryset = form.fields["use_case"].queryset.permitted(self.request.user, "change")
        if data is None and self.request.GET.get("use_case"):
            form.initial["use_case"] = self.request.GET["use_case"]
        return form

    def perform(self, data: dict[str, Any], many: dict[str, Any]) -> Any:
        return services.service_create(actor=self.request.user, **data)

    def cancel_url(self, obj: Any) -> str:
        return reverse("marketplace:catalogue")


def _crumbs(service: Service, *more: tuple[str, str]) -> list[tuple[str, str]]:
    own = service.get_absolute_url() if more else ""
    return [(_("Catalogue"), reverse("marketplace:catalogue")), (str(service), own), *more]


class ServiceEdit(UpdatePage):
    title = "Change service"
    model = Service
    form_class = ServiceEditForm

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        return services.service_update(actor=self.request.user, service=obj, data=data, expected_version=version)

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "version": self.request.POST.get("version") or obj.version,
            "breadcrumbs": _crumbs(obj, (_("Change"), "")),
        }


class ServicePage(DetailPage):
    model = Service
    template = "marketplace/service.html"

    def get_queryset(self) -> Any:
        live = ModelVersion.objects.filter(model=OuterRef("model"), state=VersionState.LIVE).order_by("-number")
        rows = selectors.with_rights(selectors.catalogue(self.request.user), self.request.user)
        return rows.annotate(live_number=Subquery(live.values("number")[:1]))

    def facts(self, obj: Service) -> list[tuple[str, Any]]:
        base = f"{settings.PUBLIC_URL.rstrip('/')}/services/{obj.code}/v1"
        return [
            (_("Code"), obj.code),
            (_("Address"), f"{base}/score"),
            (_("Made of"), obj.use_case),
            (_("Model"), obj.model),
            (_("Rows a call"), f"{MAX_ROWS:,}"),
            (_("Published"), day_text(obj.published_at) if obj.published_at else ""),
        ]

    def more(self, obj: Any) -> dict[str, Any]:
        user = self.request.user
        changes, uses = obj.may_change, obj.may_use
        watch = selectors.watch_reasons([obj]).get(obj.pk, []) if obj.on_watch else []
        subscriptions = list(selectors.subscriptions_of(user).filter(service=obj).order_by("-created_at")[:50])
        row = obj.openapi.get("components", {}).get("schemas", {}).get("Row", {}).get("properties", {})
        state = "watch" if watch else obj.state
        return {
            "breadcrumbs": _crumbs(obj),
            "subtitle": obj.summary,
            "state": {"state": state, "label": _("Published, watch") if watch else obj.get_state_display()},
            "watch": watch,
            "inputs": [
                (name, schema["description"], schema["x-unit"], schema["x-valid-range"]) for name, schema in row.items()
            ],
            "sample": _sample(obj, row),
            "plans": list(obj.plans.all()),
            "subscriptions": subscriptions,
            "can_change": changes,
            "can_subscribe": (uses and obj.state == ServiceState.PUBLISHED)
            or (changes and obj.state != ServiceState.RETIRED),
            "obstacles": publish_obstacles(obj) if changes and obj.state == ServiceState.DRAFT else [],
            "actions": _actions(obj, changes),
        }


def _actions(obj: Service, changes: bool) -> list[dict[str, Any]]:
    if not changes or obj.state == ServiceState.RETIRED:
        return []

    def url(name: str) -> str:
        return reverse(f"marketplace:{name}", args=[obj.pk])

    rows: list[dict[str, Any]] = []
    if obj.state == ServiceState.DRAFT:
        rows.append({"label": _("Publish"), "url": url("service-publish"), "method": "post", "primary": True})
    rows += [
        {"label": _("Change"), "url": url("service-edit"), "icon": "edit"},
        {"label": _("Admit a partner"), "url": url("service-admit"), "icon": "person"},
        {"label": _("Package again"), "url": url("service-package"), "method": "post", "icon": "refresh"},
        {"label": _("Retire"), "url": url("service-retire"), "danger": True},
    ]
    return rows


def _sample(obj: Service, row: dict[str, Any]) -> str:
    """A call that can be pasted into a shell, each input at the middle of its range."""

    def middle(schema: dict[str, Any]) -> float:
        low, high = schema["x-valid-range"]
        if low is None or high is None:
            return low if low is not None else high if high is not None else 0
        return round((low + high) / 2, 2)

    body = json.dumps({"rows": [{name: middle(schema) for name, schema in row.items()}]})
    return (
        f"curl {settings.PUBLIC_URL.rstrip('/')}/services/{obj.code}/v1/score \\\n"
        f'  -H "Authorization: Bearer $CLIENT_KEY" -H "Content-Type: application/json" \\\n'
        f"  -d '{body}'"
    )


class ServicePackage(ActionPage):
    model = Service
    success = "Packaged from the model as it is now."

    def act(self, obj: Any) -> None:
        services.service_package(actor=self.request.user, service=obj)


class ServicePublish(ActionPage):
    model = Service
    success = "Published."

    def act(self, obj: Any) -> None:
        services.service_publish(actor=self.request.user, service=obj)


class ServiceRetire(ConfirmPage):
    model = Service
    submit_label = "Retire"
    success = "Retired."

    def about(self, obj: Service) -> dict[str, Any]:
        open_ones = Subscription.objects.filter(service=obj).exclude(state=SubscriptionState.ENDED)
        return {
            "title": _("Retire %(name)s") % {"name": obj},
            "breadcrumbs": _crumbs(obj, (_("Retire"), "")),
            "text": _("It leaves the catalogue and stops answering now."),
            "effects": [{"count": open_ones.count(), "label": _("subscriptions end; what was used is still invoiced")}],
            "confirm_name": obj.name,
        }

    def act(self, obj: Any) -> None:
        services.service_retire(actor=self.request.user, service=obj)


class OfService(FormPage):
    """A form about one service."""

    verb = "change"

    def load(self, **kwargs: Any) -> Any:
        rows = Service.objects.filter(pk__in=selectors.catalogue(self.request.user).values("pk"))
        return get_permitted(rows, self.request.user, kwargs["pk"], self.verb)

    def more(self, obj: Any) -> dict[str, Any]:
        return {"breadcrumbs": _crumbs(obj, (_(str(self.title)), "")), "version": None}


class PartnerAdmit(OfService):
    title = "Admit a partner"
    form_class = PartnerForm
    submit_label = "Admit"
    success = "Admitted."

    def save(self, obj: Any, form: Any) -> str:
        services.partner_admit(actor=self.request.user, service=obj, email=form.cleaned_data["email"])
        return obj.get_absolute_url()


class PlanCreate(OfService):
    title = "New plan"
    form_class = PlanForm
    submit_label = "Create"

    def save(self, obj: Any, form: Any) -> str:
        services.plan_create(actor=self.request.user, service=obj, **form.plan_data())
        return obj.get_absolute_url()


class PlanEdit(FormPage):
    title = "Change plan"
    form_class = PlanForm

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(Plan.objects.select_related("service"), self.request.user, kwargs["pk"], "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return PlanForm(data, files, instance=obj)

    def save(self, obj: Any, form: Any) -> str:
        services.plan_update(
            actor=self.request.user,
            plan=obj,
            data=form.plan_data(),
            expected_version=sent_version(self.request),
        )
        return obj.service.get_absolute_url()

    def cancel_url(self, obj: Any) -> str:
        return obj.service.get_absolute_url()

    def more(self, obj: Any) -> dict[str, Any]:
        return {"breadcrumbs": _crumbs(obj.service, (_("Change plan"), ""))}


class Subscribe(OfService):
    title = "Subscribe"
    form_class = SubscribeForm
    verb = "view"
    submit_label = "Subscribe"
    success = "Subscribed. Now make a key for the program that will call it."

    def load(self, **kwargs: Any) -> Any:
        service = super().load(**kwargs)
        if not may(service, self.request.user, "change"):
            require(service, self.request.user, "use")
        if not service.plans.exists():
            raise DomainError("no_plan", _("This service has no plan yet."))
        return service

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        user: Any = self.request.user
        first = Subscription.objects.filter(owner=user).order_by("-created_at").first()
        customer = first.customer if first else user.organisation
        plans = list(obj.plans.all()[:2])
        plan = self.request.GET.get("plan") or (plans[0].pk if len(plans) == 1 else None)
        form = SubscribeForm(data, files, initial={"customer": customer, "plan": plan})
        field: Any = form.fields["plan"]
        field.queryset = obj.plans.all()
        field.label_from_instance = selectors.plan_in_words
        return form

    def save(self, obj: Any, form: Any) -> str:
        made = services.subscription_create(actor=self.request.user, service=obj, **form.cleaned_data)
        return made.get_absolute_url()
