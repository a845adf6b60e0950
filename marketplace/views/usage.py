"""Subscriptions, their keys, and what they used."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from marketplace import selectors, services
from marketplace.choices import SubscriptionState
from marketplace.filters import UsageEventFilter
from marketplace.forms import KeyForm
from marketplace.models import ClientKey, Service, Subscription, UsageEvent
from marketplace.tables import UsageEventTable
from marketplace.views.common import ConfirmPage
from portal.core.access import get_permitted, require
from portal.core.clock import day_text, wall_now
from portal.core.errors import DomainError
from portal.core.pages import ActionPage, DetailPage, FormPage, ListPage, add_errors


class UsagePage(ListPage):
    title = "Usage"
    model = UsageEvent
    table_class = UsageEventTable
    filterset_class = UsageEventFilter
    template = "marketplace/usage.html"
    export_name = "usage"

    @property
    def empty(self) -> Any:  # type: ignore[override]
        return {
            "title": _("No call yet"),
            "text": _("Subscribe to a service and make a key; each call that is answered stands here."),
            "icon": "usage",
            "phase": 5,
            "second_url": reverse("marketplace:catalogue"),
            "second_label": _("Catalogue"),
        }

    def subscriptions(self) -> list[Subscription]:
        cached: list[Subscription] | None = self.__dict__.get("_subscriptions")
        if cached is None:
            rows = selectors.subscriptions_of(self.request.user).order_by("internal", "customer", "id")
            cached = self.__dict__["_subscriptions"] = list(rows[:100])
        return cached

    def chosen(self) -> Subscription | None:
        asked = self.request.GET.get("subscription")
        rows = self.subscriptions()
        return next((s for s in rows if str(s.pk) == asked), rows[0] if rows else None)

    def rows(self) -> Any:
        chosen = self.chosen()
        rows = UsageEvent.objects.permitted(self.request.user).select_related("key", "invoice")
        return rows.filter(subscription=chosen) if chosen else rows.none()

    def more(self) -> dict[str, Any]:
        chosen = self.chosen()
        if chosen is None or self.partial:
            return {}
        usage = selectors.usage_of(chosen, wall_now())
        return {
            "usage": usage,
            "figure": selectors.usage_figure(usage),
            "tabs": [
                {"label": str(s), "url": f"?subscription={s.pk}", "active": s.pk == chosen.pk}
                for s in self.subscriptions()
            ]
            if len(self.subscriptions()) > 1
            else [],
        }


class SubscriptionPage(DetailPage):
    model = Subscription
    template = "marketplace/subscription.html"

    def get_queryset(self) -> Any:
        user = self.request.user
        return Subscription.objects.select_related("service", "plan", "owner").annotate(
            may_change=Exists(Subscription.objects.permitted(user, "change").filter(pk=OuterRef("pk"))),
            may_sell=Exists(Service.objects.permitted(user, "change").filter(pk=OuterRef("service"))),
        )

    def facts(self, obj: Subscription) -> list[tuple[str, Any]]:
        return [
            (_("Service"), obj.service),
            (_("Plan"), selectors.plan_in_words(obj.plan)),
            (_("Customer"), obj.customer),
            (_("Subscriber"), obj.owner),
            (_("Since"), day_text(obj.started_at)),
            (_("Ended"), day_text(obj.ended_at) if obj.ended_at else _("still running")),
        ]

    def more(self, obj: Any) -> dict[str, Any]:
        usage = selectors.usage_of(obj, wall_now())
        return {
            "breadcrumbs": [(_("Usage"), reverse("marketplace:usage")), (str(obj), "")],
            "state": {"state": obj.state, "label": obj.get_state_display()},
            "usage": usage,
            "figure": selectors.usage_figure(usage),
            "keys": list(obj.keys.all()[:50]),
            "can_change": obj.may_change,
            "actions": _actions(obj, obj.may_change, obj.may_sell),
        }


def _actions(obj: Subscription, changes: bool, sells: bool) -> list[dict[str, Any]]:
    def url(name: str) -> str:
        return reverse(f"marketplace:{name}", args=[obj.pk])

    rows: list[dict[str, Any]] = [{"label": _("Invoice so far"), "url": url("preview"), "icon": "invoice"}]
    if not obj.internal:
        rows.append({"label": _("Invoices"), "url": f"{reverse('marketplace:invoices')}?subscription={obj.pk}"})
    if sells and not obj.internal:
        rows.append({"label": _("Draw up an invoice"), "url": url("invoice-draft")})
    if obj.state == SubscriptionState.ACTIVE and sells:
        rows.append({"label": _("Suspend"), "url": url("subscription-suspend"), "method": "post", "icon": "paused"})
    if obj.state == SubscriptionState.SUSPENDED and sells:
        rows.append({"label": _("Resume"), "url": url("subscription-resume"), "method": "post", "icon": "play"})
    if obj.state != SubscriptionState.ENDED and changes:
        rows.append({"label": _("End"), "url": url("subscription-end"), "danger": True})
    return rows


class KeyCreate(FormPage):
    """The answer to the POST shows the key, once; it is never kept."""

    title = "New key"
    form_class = KeyForm
    submit_label = "Make the key"

    def load(self, **kwargs: Any) -> Any:
        rows = Subscription.objects.select_related("service")
        return get_permitted(rows, self.request.user, kwargs["pk"], "change")

    def more(self, obj: Any) -> dict[str, Any]:
        crumbs = [(_("Usage"), reverse("marketplace:usage")), (str(obj), obj.get_absolute_url()), (_("New key"), "")]
        return {"breadcrumbs": crumbs, "version": None}

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        obj = self.load(**kwargs)
        form = self.get_form(obj, request.POST)
        if not form.is_valid():
            return self.show(obj, form, 422)
        try:
            key, secret = services.client_key_create(
                actor=request.user, subscription=obj, name=form.cleaned_data["name"]
            )
        except DomainError as error:
            add_errors(form, error)
            return self.show(obj, form, int(error.status))
        context = {"object": obj, "key": key, "secret": secret} | self.more(obj)
        response = self.render("marketplace/key_shown.html", context, 201)
        response["Cache-Control"] = "no-store"
        return response


class KeyRevoke(ConfirmPage):
    model = ClientKey
    submit_label = "Revoke"
    success = "Revoked."

    def load(self, pk: Any) -> Any:
        rows = ClientKey.objects.select_related("subscription__service")
        return get_permitted(rows, self.request.user, pk, "change")

    def about(self, obj: ClientKey) -> dict[str, Any]:
        return {
            "title": _("Revoke %(name)s") % {"name": obj},
            "text": _(
                "Programs that call with this key are refused from now on. This cannot be undone; make a new key."
            ),
            "cancel_url": obj.subscription.get_absolute_url(),
        }

    def show(self, obj: Any, name_error: str = "", status: int = 200) -> HttpResponse:
        context = {"action_url": self.request.path, "submit_label": self.submit_label} | self.about(obj)
        return self.render("generic/confirm.html", context, status)

    def act(self, obj: Any) -> str:
        services.client_key_revoke(actor=self.request.user, key=obj)
        return obj.subscription.get_absolute_url()


class _ServiceSide(ActionPage):
    """Verbs of those who run the service, not of its customers."""

    model = Subscription

    def act(self, obj: Any) -> None:
        require(obj.service, self.request.user, "change")
        self.perform(obj)

    def perform(self, obj: Any) -> None:
        raise NotImplementedError


class SubscriptionSuspend(_ServiceSide):
    success = "Suspended."

    def perform(self, obj: Any) -> None:
        services.subscription_suspend(actor=self.request.user, subscription=obj)


class SubscriptionResume(_ServiceSide):
    success = "Resumed."

    def perform(self, obj: Any) -> None:
        services.subscription_resume(actor=self.request.user, subscription=obj)


class SubscriptionEnd(ConfirmPage):
    model = Subscription
    submit_label = "End the subscription"
    success = "Ended."

    def about(self, obj: Subscription) -> dict[str, Any]:
        return {
            "title": _("End %(name)s") % {"name": obj},
            "text": _("Its keys stop working now; what was used is still invoiced. This cannot be undone."),
            "effects": [{"count": obj.keys.filter(revoked_at=None).count(), "label": _("keys stop working")}],
        }

    def act(self, obj: Any) -> None:
        services.subscription_end(actor=self.request.user, subscription=obj)
