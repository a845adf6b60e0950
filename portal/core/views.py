"""Pages that belong to no app: search, inbox, audit, tokens, jobs, the site switcher, the demo's role switch."""

from __future__ import annotations

from typing import Any

import django_filters
import django_tables2 as tables
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.generic import View

from portal.core import jobs, navigation, search, tokens
from portal.core.access import get_permitted, with_may
from portal.core.clock import wall_now
from portal.core.models import ApiToken, AuditEntry, Job, Notification, User
from portal.core.pages import ActionPage, FormPage, ListPage, Page
from portal.core.roles import ROLES


def _back(request: HttpRequest) -> str:
    target = request.POST.get("next") or request.headers.get("Referer") or "/"
    return target if url_has_allowed_host_and_scheme(target, {request.get_host()}, request.is_secure()) else "/"


class SearchPage(Page):
    title = "Search"

    def get(self, request: HttpRequest) -> HttpResponse:
        text = request.GET.get("q", "")[:200]
        return self.render("core/search.html", {"q": text, "groups": search.search(request.user, text)})


class SiteSwitch(Page):
    def post(self, request: HttpRequest) -> HttpResponse:
        chosen = request.POST.get("site", "")
        if chosen and chosen not in {site["id"] for site in navigation.sites_of(request.user)}:
            raise Http404
        request.session["site_id"] = chosen or None
        return HttpResponseRedirect(_back(request))


class DemoSwitch(View):
    """One click switches role (or signs in as it), in the demo only."""

    def post(self, request: HttpRequest) -> HttpResponse:
        if not settings.DEMO:
            raise Http404
        key = request.POST.get("role", "").replace("_", "-")
        user = User.objects.filter(email=f"{key}@demo.phasegate.local", is_active=True).first()
        if user is None:
            raise Http404
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        messages.success(request, f"You are {user} now.")
        target = request.POST.get("next", "/")
        return HttpResponseRedirect(target if url_has_allowed_host_and_scheme(target, {request.get_host()}) else "/")


class InboxTable(tables.Table):
    text = tables.TemplateColumn(
        '{% if record.url %}<a href="{{ record.url }}">{{ record.text }}</a>{% else %}{{ record.text }}{% endif %}',
        verbose_name="Message",
    )
    created_at = tables.DateTimeColumn(verbose_name="When")

    class Meta:
        model = Notification
        fields = ("text", "kind", "created_at", "read_at")

    def render_kind(self, value: str) -> str:
        return value.replace("_", " ").capitalize()


class InboxPage(ListPage):
    title = "Inbox"
    model = Notification
    table_class = InboxTable
    empty = "Nothing waits for you."

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        response = super().get(request, **kwargs)
        Notification.objects.filter(user=self.request.user, read_at=None).update(read_at=wall_now())
        return response


class AuditFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(field_name="object_label", lookup_expr="icontains", label="Object contains")
    action = django_filters.CharFilter(lookup_expr="startswith", label="Action")
    actor_label = django_filters.CharFilter(lookup_expr="icontains", label="By")
    at = django_filters.DateFromToRangeFilter(label="Between")

    class Meta:
        model = AuditEntry
        fields = ("q", "action", "actor_label", "at")


class AuditTable(tables.Table):
    class Meta:
        model = AuditEntry
        fields = ("at", "actor_label", "action", "object_type", "object_label", "via", "request_id")


class AuditPage(ListPage):
    title = "Audit trail"
    model = AuditEntry
    table_class = AuditTable
    filterset_class = AuditFilter
    site_path = "site_ref"
    empty = "No writes have been recorded that you may see."


class TokenForm(forms.Form):
    fields: dict[str, Any]
    name = forms.CharField(max_length=80, help_text="What will use it, so that you know later what to revoke.")
    scopes = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple, help_text="A token never exceeds what you may do yourself."
    )
    expires_at = forms.DateTimeField(
        required=False,
        label="Expires",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="Empty: never.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scopes"].choices = [(scope, scope) for scope in tokens.known_scopes()]


class TokensPage(FormPage):
    title = "API tokens"
    form_class = TokenForm
    template = "core/tokens.html"
    submit_label = "Create token"

    def more(self, obj: Any) -> dict[str, Any]:
        secret = self.request.session.pop("new_token", None)
        return {"tokens": ApiToken.objects.permitted(self.request.user), "secret": secret, "now": wall_now()}

    def save(self, obj: Any, form: Any) -> str:
        _, secret = tokens.token_create(actor=self.request.user, **form.cleaned_data)
        self.request.session["new_token"] = secret
        return reverse("core:tokens")


class TokenRevoke(ActionPage):
    model = ApiToken
    verb = "view"
    success = "The token no longer works."

    def act(self, obj: Any) -> str:
        tokens.token_revoke(actor=self.request.user, token=obj)
        return reverse("core:tokens")


class JobPage(Page):
    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        job = get_permitted(with_may(Job.objects.all(), request.user, "cancel"), request.user, pk)
        template = "components/job_progress.html" if self.partial else "core/job.html"
        response = self.render(template, {"job": job, "title": job.title})
        if job.finished_at is not None:
            response["X-Poll-Stop"] = "1"
        return response


class JobCancel(ActionPage):
    model = Job
    verb = "cancel"
    success = "Cancelled."

    def act(self, obj: Any) -> str:
        jobs.job_cancel(actor=self.request.user, job=obj)
        return reverse("core:job", args=[obj.pk])


class SettingsPage(Page):
    title = "Settings"

    def get(self, request: HttpRequest) -> HttpResponse:
        keys = self.request.user.role_keys
        roles = [ROLES[key].label if key in ROLES else key for key in keys]
        manages = request.user.has_perm("core.manage_users")
        return self.render("core/settings.html", {"roles": roles, "manages_people": manages})
