"""Deputies: who signs in whose place, named by the person who will be away or by whoever manages people."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from coe import services
from coe.deputies import DeputyFilter, DeputyForm, DeputyTable
from coe.models import Deputy
from coe.views.common import coe_crumb, tabs
from portal.core.pages import ActionPage, FormPage, ListPage


class DeputyList(ListPage):
    title = gettext_lazy("Deputies")
    model = Deputy
    table_class = DeputyTable
    filterset_class = DeputyFilter
    template = "coe/deputies.html"
    create_url_name = "coe:deputy-new"
    create_label = gettext_lazy("Name a deputy")
    empty = {
        "title": gettext_lazy("Nobody stands in for anybody"),
        "text": gettext_lazy("Before you are away, name who signs gates in your place. It ends by itself."),
        "icon": "sign",
        "phase": 4,
    }

    def get_queryset(self) -> Any:
        return Deputy.objects.select_related("person", "deputy", "site")

    def more(self) -> dict[str, Any]:
        return {"tabs": tabs("deputies")}


class DeputyCreate(FormPage):
    title = gettext_lazy("Name a deputy")
    form_class = DeputyForm
    submit_label = gettext_lazy("Name the deputy")
    success = gettext_lazy("Named. Both of you have a line in the inbox.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [coe_crumb(), (_("Deputies"), reverse("coe:deputies")), (str(self.title), "")]

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = super().get_form(obj, data, files)
        if self.request.user.has_perm(services.MANAGE_PEOPLE):
            form.fields["person"].help_text = _("Empty: yourself. You may name a deputy for somebody who fell ill.")
        else:
            del form.fields["person"]
        return form

    def cancel_url(self, obj: Any) -> str:
        return reverse("coe:deputies")

    def save(self, obj: Any, form: Any) -> str:
        return services.deputy_name(actor=self.request.user, **form.cleaned_data).get_absolute_url()


class DeputyRevoke(ActionPage):
    model = Deputy
    success = gettext_lazy("Ended. What the deputy signed before stays signed.")

    def act(self, obj: Deputy) -> str:
        services.deputy_revoke(actor=self.request.user, deputy=obj)
        return obj.get_absolute_url()
