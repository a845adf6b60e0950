"""Onboarding: what is planned but not in service, and lists brought in from a file."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devices import forms, importing, tables
from devices.filters import DeviceFilter
from devices.models import Device
from devices.selectors import may_somewhere, onboarding_queue
from devices.views.common import Crumbs, registry_crumb
from devices.views.devices import enrol_commands
from portal.core.clock import wall_now
from portal.core.errors import DomainError, NotAllowed
from portal.core.pages import FormPage, ListPage
from portal.core.tabular import read_table


class OnboardingFilter(DeviceFilter):
    class Meta:
        model = Device
        fields = ("q", "site", "kind")

    state = None
    connectivity = None


class OnboardingPage(ListPage):
    title = gettext_lazy("Onboarding")
    model = Device
    table_class = tables.OnboardingTable
    filterset_class = OnboardingFilter
    site_path = "site_id"
    template = "devices/onboarding.html"
    export_name = "onboarding"
    empty = gettext_lazy("Everything that is planned is in service.")

    def get_queryset(self) -> Any:
        return onboarding_queue(wall_now())

    def more(self) -> dict[str, Any]:
        if self.partial:
            return {}
        portal = self.request.build_absolute_uri("/").rstrip("/")
        return {
            "commands": enrol_commands(portal, "XXXX-XXXX-XXXX-XXXX"),
            "may_change": may_somewhere(self.request.user, "change"),
        }


class ImportPage(FormPage):
    """Devices or channels from a table: a check first that shows what would be written, then the writing."""

    title = gettext_lazy("Bring in a list")
    form_class = forms.ImportForm
    template = "devices/import.html"
    submit_label = gettext_lazy("Check")

    def breadcrumbs(self) -> Crumbs:
        return [registry_crumb(), (str(self.title), "")]

    def load(self, **kwargs: Any) -> None:
        if not may_somewhere(self.request.user, "change"):
            raise NotAllowed("import", ["OT engineer", "Edge Integration Architect", "CoE lead"])

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        kind = self.request.GET.get("kind")
        initial = {"kind": kind if kind in importing.COLUMNS else importing.DEVICES}
        return forms.ImportForm(data=data, files=files, initial=initial)

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "columns": [
                {"kind": kind, "needed": needed, "optional": optional, "example": importing.EXAMPLES[kind]}
                for kind, (needed, optional) in importing.COLUMNS.items()
            ],
            "plan": getattr(self, "plan", None),
            "shown": getattr(self, "shown", None),
            "problems": self.plan.problems[: importing.MAX_SHOWN] if getattr(self, "plan", None) else [],
        }

    def cancel_url(self, obj: Any) -> str:
        return reverse("devices:devices")

    def post(self, request: Any, **kwargs: Any) -> HttpResponse:
        self.load(**kwargs)
        form = self.get_form(None, request.POST, request.FILES)
        if not form.is_valid():
            return self.show(None, form, 422)
        data = form.cleaned_data
        upload = data["file"]
        try:
            if upload is not None and upload.size > 5 * 1024 * 1024:
                raise DomainError("too_large", _("The file is larger than 5 MB. Split it."), status=413)
            table = read_table(upload.read() if upload is not None else data["text"].encode())
            self.plan = importing.import_plan(actor=request.user, kind=data["kind"], table=table)
            asked = request.POST.get("write")
            partial = asked == "good"
            writes = asked is not None and (not self.plan.problems or partial)
            if writes and self.plan.records:
                plan = importing.import_run(actor=request.user, kind=data["kind"], table=table, partial=partial)
                messages.success(
                    request,
                    _("%(n)s rows written, %(bad)s left out.") % {"n": len(plan.records), "bad": plan.refused_rows},
                )
                return HttpResponseRedirect(reverse("devices:devices"))
        except DomainError as error:
            form.add_error("file" if upload is not None else "text", str(error))
            return self.show(None, form, int(error.status))
        # What was read goes on in the form as text, so that the next click needs no second upload.
        again = forms.ImportForm(initial=data | {"text": table.as_csv(), "file": None})
        self.shown = list(self.plan.records[:20])
        return self.show(None, again, 422 if self.plan.problems else 200)
