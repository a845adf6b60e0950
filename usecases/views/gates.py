"""The gate: its evidence as it flips, what stands in the way, waivers, a hold's end, and its whole history."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core import audit, exports, signing
from portal.core.access import get_permitted, may, with_may
from portal.core.clock import wall_now
from portal.core.pages import ActionPage, FormPage, Page
from usecases import consequences, gate_history, selectors, services
from usecases import evidence as registry
from usecases.choices import ConditionKind, Decision, GateState, Phase
from usecases.gate_rules import MEASURED, REVIEWABLE, SIGNERS, WHAT_REOPENING_DOES
from usecases.gates_forms import WaiverForm
from usecases.models import Gate, GateCondition, GateReview, Waiver
from usecases.views.common import etag_of, polled

GATES = Gate.objects.select_related("use_case", "adoption__site", "adoption__location", "adoption__use_case")
HISTORY_PAGE = 50


def owner_crumbs(gate: Gate) -> list[tuple[str, str]]:
    crumbs = [
        (_("Use cases"), reverse("usecases:use-cases")),
        (str(gate.use_case), gate.use_case.get_absolute_url()),
    ]
    if gate.adoption is not None:
        crumbs.append((str(gate.adoption.site), gate.adoption.get_absolute_url()))
    return crumbs


def gate_title(gate: Gate) -> str:
    return f"{_('Gate')} {gate.number}: {Phase(gate.number).label}"


def gate_crumbs(gate: Gate, last: str) -> list[tuple[str, str]]:
    return [*owner_crumbs(gate), (gate_title(gate), gate.get_absolute_url()), (last, "")]


def evidence_state(gate: Gate, rows: list[dict[str, Any]]) -> Any:
    """What the polled part shows, without the ages that the browser counts itself."""
    return [
        gate.state,
        gate.version,
        [[r["key"], r["state"], str(r["value"]), r["note"], r["reason"], str(r["waiver"])] for r in rows],
    ]


def term_rows(terms: list[GateCondition], user: Any, *, may_sign: bool) -> list[dict[str, Any]]:
    """Conditions and what to redo, as the gate and its review show them."""
    now = wall_now()
    rows = []
    for term in terms:
        spec = registry.spec(term.key) if term.key else None
        late = term.met_at is None and term.due_at is not None and term.due_at <= now
        rows.append(
            {
                "row": term,
                "what": (spec.label if spec else term.key) if term.key else term.text,
                "said": term.text if term.key and term.text != str(spec.label if spec else "") else "",
                "state": "met" if term.met_at else "overdue" if late else "pending",
                "state_label": _("Met") if term.met_at else _("Overdue") if late else _("Open"),
                "may_meet": term.met_at is None and not term.key and (may_sign or term.owner_id == user.pk),
            }
        )
    return rows


class GatePage(Page):
    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        gate = get_permitted(with_may(GATES, request.user, "sign"), request.user, pk)
        can_sign = gate.may_sign
        rows = selectors.evidence_rows(gate, may_waive=can_sign)
        past = list(
            GateReview.objects.filter(gate=gate)
            .select_related("decided_by", "opened_by")
            .annotate(voices=Count("signatures", filter=Q(signatures__approves=True)))
            .order_by("-created_at")[:10]
        )
        review = next((r for r in past if r.state == "open"), None)
        decided = next((r for r in past if r.state == "decided"), None)
        terms = self._terms(gate, decided)
        worse = self._worse(gate, rows)
        waivers = list(Waiver.objects.filter(gate=gate).select_related("granted_by")[:20])
        return self.render(
            "usecases/gate.html",
            {
                "title": gate_title(gate),
                "subtitle": str(gate.adoption or gate.use_case),
                "breadcrumbs": [*owner_crumbs(gate), (gate_title(gate), "")],
                "object": gate,
                "rows": rows,
                "summary": selectors.evidence_summary(rows),
                "etag": etag_of(evidence_state(gate, rows)),
                "review": review,
                "can_open": can_sign and review is None and gate.state in REVIEWABLE,
                "can_measure": gate.state in MEASURED,
                "can_resume": can_sign and gate.state == GateState.HELD,
                "can_sign": can_sign,
                "signers": [slot.label for slot in SIGNERS[gate.number]],
                "reviews": past,
                "decided": decided,
                "standing": consequences.standing(gate, decided),
                "terms": term_rows(terms, request.user, may_sign=can_sign),
                "redo": bool(terms) and terms[0].kind == ConditionKind.REDO,
                "waivers": waivers,
                "now": wall_now(),
                "history": audit.history(gate, 6, also=[*past, *waivers, *terms]),
                "reopening": WHAT_REOPENING_DOES[gate.number] if gate.state == GateState.REOPENED else (),
                "deputies_url": signing.deputies_url(),
                "worse": worse,
                "holds_again": gate.state == GateState.REOPENED and not worse,
            },
        )

    def _terms(self, gate: Gate, decided: GateReview | None) -> list[GateCondition]:
        """What the last decision asks for, while it matters."""
        if decided is None or decided.decision not in {Decision.CONDITIONAL_GO, Decision.RECYCLE}:
            return []
        return list(decided.terms.select_related("owner", "met_by"))

    def _worse(self, gate: Gate, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The criteria that keep a reopened gate open, each with the link to what was measured."""
        if gate.state != GateState.REOPENED:
            return []
        return [r for r in rows if r["required"] and r["state"] in {"not_met", "not_measured", "slipped"}]


class GateEvidence(Page):
    """The polled part of the gate page."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        gate = get_permitted(GATES, request.user, pk)
        rows = selectors.evidence_rows(gate, may_waive=may(gate, request.user, "sign"))
        context = {"rows": rows, "summary": selectors.evidence_summary(rows), "object": gate}
        return polled(request, "usecases/_evidence.html", context, evidence_state(gate, rows))


class GateMeasure(ActionPage):
    model = Gate
    verb = "view"
    success = ""

    def act(self, obj: Any) -> None:
        rows = services.gate_measure(gate=obj, actor=self.request.user)
        messages.success(self.request, _("Measured {n} criteria now.").format(n=len(rows)))


class GateResume(ActionPage):
    model = Gate
    verb = "sign"
    success = gettext_lazy("Resumed: the gate is worked on again.")

    def act(self, obj: Any) -> None:
        services.gate_resume(actor=self.request.user, gate=obj, note=self.request.POST.get("note", "")[:300])


class WaiverCreate(FormPage):
    form_class = WaiverForm
    submit_label = "Waive"
    success = "The criterion is waived until that date; it shows wherever the gate shows."

    def load(self, **kwargs: Any) -> Any:
        return get_permitted(GATES, self.request.user, kwargs["pk"], "sign")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        until = wall_now() + timedelta(days=30)
        return WaiverForm(data, gate=obj, initial={"key": self.request.GET.get("key"), "expires_at": until})

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "title": _("Waive a criterion of {gate}").format(gate=obj),
            "breadcrumbs": [*owner_crumbs(obj), (gate_title(obj), obj.get_absolute_url()), (_("Waive"), "")],
        }

    def save(self, obj: Any, form: Any) -> str:
        services.waiver_grant(actor=self.request.user, gate=obj, **form.cleaned_data)
        return obj.get_absolute_url()


class WaiverRevoke(ActionPage):
    model = Waiver
    success = "The waiver is taken back."

    def act(self, obj: Any) -> str:
        services.waiver_revoke(actor=self.request.user, waiver=obj)
        return obj.gate.get_absolute_url()


class GateHistory(Page):
    """Everything that happened at the gate: filtered, paged, exported, at an address that can be shared."""

    def get(self, request: HttpRequest, pk: Any) -> Any:
        gate = get_permitted(GATES, request.user, pk)
        asked, shown = gate_history.asked_of(request.GET)
        found = gate_history.moments(gate, asked)
        form = request.GET.get("export")
        if form in {"csv", "xlsx"}:
            send = exports.csv_response if form == "csv" else exports.xlsx_response
            name = f"gate-{gate.number}-{gate.use_case.code}-history"
            return send(name, gate_history.HEADER, gate_history.export_rows(found))
        page = Paginator(found, HISTORY_PAGE).get_page(request.GET.get("page"))
        query = request.GET.copy()
        query.pop("page", None)
        query.pop("export", None)
        return self.render(
            "usecases/gate_history.html",
            {
                "title": _("History of gate {n}").format(n=gate.number),
                "subtitle": str(gate.adoption or gate.use_case),
                "breadcrumbs": gate_crumbs(gate, _("History")),
                "object": gate,
                "moments": gate_history.lines(page.object_list),
                "page": page,
                "query": query.urlencode(),
                "kinds": [(key, label, key in asked.kinds) for key, label in gate_history.KINDS.items()],
                "criteria": [(s.key, s.label) for s in registry.specs_for(gate.number)],
                "asked": shown,
                "export_formats": [
                    (kind.upper(), f"?{query.urlencode()}{'&' if query else ''}export={kind}")
                    for kind in ("csv", "xlsx")
                ],
            },
        )
