"""Overview, roles, appointments, certificates, skills, calendar."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from coe import selectors, services
from coe.agenda import agenda
from coe.catalogue import WORDS
from coe.forms import AppointmentForm, ReasonForm
from coe.models import Appointment, Certificate, CoeRole, Track
from coe.tables import certificate_words
from coe.views.common import button, coe_crumb, tabs, unnamed
from portal.core.access import get_permitted, require_global
from portal.core.clock import wall_now
from portal.core.pages import ActionPage, DetailPage, FormPage, Page


class OverviewPage(Page):
    """Roles x sites, and what waits."""

    title = gettext_lazy("Centre of Excellence")

    def get(self, request: HttpRequest) -> HttpResponse:
        now = wall_now()
        user = request.user
        names = selectors.may_see_names(user)
        sites = selectors.sites_with_what_waits(user, now, self.site_id)
        filling = selectors.roles_by_site(sites, now)
        rows = [
            {
                "site": site,
                "cells": [
                    {
                        "filling": cell,
                        "people": [
                            selectors.person_label(user, a.user, names=names) for a in (cell.certified or cell.holders)
                        ]
                        if names
                        else [],
                    }
                    for cell in filling[site.pk]
                ],
            }
            for site in sites
        ]
        needed = [cell for cells in filling.values() for cell in cells]
        overdue = sum(site.late_actions for site in sites)
        return self.render(
            "coe/overview.html",
            {
                "tabs": tabs("overview"),
                "rows": rows,
                "roles": [cell.role for cell in filling[sites[0].pk]] if sites else [],
                "filled": sum(cell.filled for cell in needed),
                "needed": len(needed),
                "expiring": len(selectors.certificates_due(now)),
                "retrospectives": sum(site.drafts for site in sites),
                "reviews": sum(site.open_reviews for site in sites),
                "open_actions": sum(site.open_actions for site in sites),
                "overdue_note": _("%(n)s overdue") % {"n": overdue} if overdue else _("none overdue"),
                "filled_unit": _("of %(n)s") % {"n": len(needed)},
                "roles_note": _("over %(n)s sites") % {"n": len(sites)} if len(sites) != 1 else str(sites[0]),
                "retrospectives_url": reverse("coe:retrospectives") + "?state=draft",
                "reviews_url": reverse("coe:roi-reviews") + "?held=false",
                "actions_url": reverse("coe:actions") + "?state=open",
                "now": now,
                "may_manage": names,
            },
        )


class SkillsPage(Page):
    title = gettext_lazy("Skills matrix")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [coe_crumb(), (str(self.title), "")]

    def get(self, request: HttpRequest) -> HttpResponse:
        matrix = selectors.skills_matrix(request.user, wall_now())
        return self.render("coe/skills.html", {"tabs": tabs("skills"), **matrix})


class CalendarPage(Page):
    title = gettext_lazy("Calendar")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [coe_crumb(), (str(self.title), "")]

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.render(
            "coe/calendar.html", {"tabs": tabs("calendar"), **agenda(request.user, wall_now(), self.site_id)}
        )


class RolePage(DetailPage):
    model = CoeRole
    template = "coe/role.html"

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [coe_crumb(), (_("Role"), "")]

    def facts(self, obj: CoeRole) -> list[tuple[str, Any]]:
        signs = ", ".join(WORDS.get(kind, kind) for kind in obj.signs)
        return [(_("Signs"), signs), (_("Needed at each site"), _("yes") if obj.required_at_site else _("no"))]

    def actions(self, obj: CoeRole) -> list[dict[str, Any]]:
        url = f"{reverse('coe:appointment-new')}?role={obj.pk}"
        allowed = selectors.may_see_names(self.request.user)
        return [button(_("Appoint somebody"), url, allowed=allowed, primary=True, icon="add")]

    def more(self, obj: CoeRole) -> dict[str, Any]:
        user, now = self.request.user, wall_now()
        names = selectors.may_see_names(user)
        appointments = (
            Appointment.objects.permitted(user)
            .filter(role=obj)
            .select_related("user", "site")
            .prefetch_related("user__groups")
            .order_by("-valid_from")[:100]
        )
        certificates = (
            Certificate.objects.permitted(user)
            .filter(role=obj)
            .select_related("user", "track")
            .prefetch_related("user__groups")[:100]
        )
        return {
            "subtitle": obj.description,
            "may_manage": names,
            "tracks": list(Track.objects.filter(role=obj)),
            "appointments": [
                {
                    "row": a,
                    "who": selectors.person_label(user, a.user, names=names),
                    "valid": selectors.appointment_valid(a, now),
                    "end": selectors.appointment_end_of(a),
                    "coming": a.valid_from > now,
                }
                for a in appointments
            ],
            "certificates": [
                {
                    "row": c,
                    "who": selectors.person_label(user, c.user, names=names),
                    "state": certificate_words(c),
                    "revocable": names and selectors.certificate_valid(c, now),
                }
                for c in certificates
            ],
            **unnamed(user),
        }


class AppointmentCreate(FormPage):
    title = gettext_lazy("Appoint somebody")
    form_class = AppointmentForm
    submit_label = gettext_lazy("Appoint")
    success = gettext_lazy("Appointed. The person has a line in the inbox.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [coe_crumb(), (str(self.title), "")]

    def load(self, **kwargs: Any) -> Any:
        require_global(self.request.user, "coe.manage_people", "appoint")
        return None

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = super().get_form(obj, data, files)
        if data is None:
            form.initial = {name: self.request.GET[name] for name in ("role", "site") if name in self.request.GET}
        return form

    def cancel_url(self, obj: Any) -> str:
        return reverse("coe:overview")

    def save(self, obj: Any, form: AppointmentForm) -> str:
        return services.appointment_create(actor=self.request.user, **form.cleaned_data).get_absolute_url()


class AppointmentEnd(ActionPage):
    model = Appointment
    success = gettext_lazy("The appointment has ended. What was signed under it stays signed.")

    def act(self, obj: Appointment) -> str:
        services.appointment_end(actor=self.request.user, appointment=obj)
        return obj.get_absolute_url()


class CertificateRevoke(FormPage):
    title = gettext_lazy("Revoke a certificate")
    form_class = ReasonForm
    submit_label = gettext_lazy("Revoke")
    success = gettext_lazy("Revoked. It signs nothing from now on; what was signed before stays signed.")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [coe_crumb(), (str(self.title), "")]

    def load(self, pk: Any = None, **kwargs: Any) -> Certificate:
        found: Certificate = get_permitted(
            Certificate.objects.select_related("role", "user"), self.request.user, pk, "change"
        )
        return found

    def more(self, obj: Certificate) -> dict[str, Any]:
        return {"subtitle": f"{obj.role}: {obj.user}"}

    def save(self, obj: Certificate, form: ReasonForm) -> str:
        services.certificate_revoke(actor=self.request.user, certificate=obj, reason=form.cleaned_data["reason"])
        return obj.get_absolute_url()
