"""SLOs: budgets in plain words, burn, owners."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _l

from governance.choices import SloKind
from governance.filters import SloPageFilter
from governance.forms import SloForm
from governance.models import Incident, Slo
from governance.selectors import slos as reads
from governance.tables import SloTable
from governance.views.live import link
from portal.core.access import require
from portal.core.clock import wall_now
from portal.core.pages import CreatePage, DetailPage, ListPage, UpdatePage
from portal.core.templatetags.phasegate import duration
from usecases.models import Adoption


class SloList(ListPage):
    title = _l("SLOs")
    model = Slo
    table_class = SloTable
    filterset_class = SloPageFilter
    site_path = "adoption__site_id"
    create_url_name = "governance:slo-create"
    create_label = _l("Set an SLO")
    empty = _l("No SLO is set yet. Say what is promised: uptime of inference, and how soon a model is repaired.")

    def get_queryset(self) -> Any:
        return Slo.objects.select_related("adoption__site", "adoption__use_case", "ot_owner", "ds_owner")

    def create_url(self) -> str | None:
        user = self.request.user
        return super().create_url() if Adoption.objects.permitted(user, "operate").exists() else None


class SloPage(DetailPage):
    """Budget, burn-down, burn table with refused tiers, guard, owners, answers."""

    model = Slo
    template = "governance/slo.html"

    def get_queryset(self) -> Any:
        return Slo.objects.select_related("adoption__site", "adoption__use_case", "ot_owner", "ds_owner")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("SLOs"), reverse("governance:slos")), (_("SLO"), "")]

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return [
            (_("Adoption"), link(obj.adoption)),
            (_("Target"), f"{100 * obj.target:g} %"),
            (_("Good when within"), f"{duration(obj.limit_seconds)} ({_('wall time')})" if obj.limit_seconds else ""),
            (_("Over the last"), _("%(days)s days (wall time)") % {"days": obj.window_days}),
            (_("OT owner"), obj.ot_owner or _("nobody yet")),
            (_("Data science owner"), obj.ds_owner or _("nobody yet")),
        ]

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        if not self.may(obj, "change"):
            return []
        return [{"label": _("Change"), "url": reverse("governance:slo-edit", args=[obj.pk]), "icon": "edit"}]

    def more(self, obj: Any) -> dict[str, Any]:
        status, figure = reads.status_and_figure(obj)
        card = reads.card(status)
        return {
            "subtitle": f"{obj.adoption.use_case} · {obj.adoption.site}",
            "state": {"state": card["state"], "label": card["state_label"]},
            "status": status,
            "card": card,
            "measured_text": _measured(status),
            "used_text": _amount(obj, status.budget.used),
            "left_text": _amount(obj, max(0.0, status.budget.left)),
            "allowed_text": _amount(obj, status.budget.allowed),
            "burn": reads.burn_rows(status),
            "figure": figure,
            "guard": reads.guard_sentence(obj),
            "answers": _answers(obj),
            "is_time": obj.kind == SloKind.UPTIME,
        }


def _amount(slo: Slo, value: float) -> str:
    return duration(value) if slo.kind == SloKind.UPTIME else f"{value:.2g}"


def _measured(status: Any) -> str:
    if status.slo.kind == SloKind.UPTIME:
        return duration(status.events) if status.events > 0 else ""
    return f"{status.events:.0f}" if status.events > 0 else ""


def _answers(slo: Slo) -> list[dict[str, Any]]:
    """The newest alerts and how long their answer took, for an SLO over answers."""
    if slo.kind != SloKind.ALERT_TO_RETRAIN:
        return []
    now, limit = wall_now(), slo.limit_seconds or 7200.0
    rows = []
    found = Incident.objects.filter(
        adoption_id=slo.adoption_id, fast_forwarded=False, alerts__kind__in=["concept", "residual"]
    ).distinct()
    for incident in found.order_by("-opened_at")[:20]:
        end = incident.live_at or incident.resolved_at
        seconds = ((end or now) - incident.opened_at).total_seconds()
        late = seconds > limit
        rows.append(
            {
                "incident": incident,
                "text": duration(seconds),
                "state": ("overdue" if late else "pending") if end is None else ("breach" if late else "ok"),
                "label": (_("overdue") if late else _("under way"))
                if end is None
                else (_("too late") if late else _("in time")),
            }
        )
    return rows


class SloCreate(CreatePage):
    title = _l("Set an SLO")
    model = Slo
    form_class = SloForm
    submit_label = _l("Set it")
    success = _l("Set. It is measured from now on.")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = super().get_form(obj, data, files)
        form.fields["adoption"].queryset = Adoption.objects.permitted(self.request.user, "operate")
        if data is None and "adoption" in self.request.GET:
            form.initial["adoption"] = self.request.GET["adoption"]
        return form

    def save(self, obj: Any, form: Any) -> str:
        require(form.cleaned_data["adoption"].site, self.request.user, "operate")
        return super().save(obj, form)

    def cancel_url(self, obj: Any) -> str:
        return reverse("governance:slos")


class SloEdit(UpdatePage):
    title = _l("Change an SLO")
    model = Slo
    form_class = SloForm
    success = _l("Saved.")
