"""The gate, its evidence as it flips, waivers, and its reviews with signatures and the decision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core import audit, signing
from portal.core.access import get_permitted, may
from portal.core.clock import moment_text, wall_now
from portal.core.errors import DomainError, StaleWrite
from portal.core.pages import ActionPage, FormPage, Page, add_errors
from usecases import selectors, services
from usecases.choices import GateState, Phase, ReviewState
from usecases.forms import DecideForm, SignForm, WaiverForm
from usecases.gate_rules import REVIEWABLE, SIGNERS, WHAT_REOPENING_DOES
from usecases.models import Gate, GateReview, Waiver
from usecases.services.reviews import why_not
from usecases.views.common import etag_of, polled

GATES = Gate.objects.select_related("use_case", "adoption__site", "adoption__location", "adoption__use_case")
REVIEWS = GateReview.objects.select_related(
    "gate__use_case",
    "gate__adoption__site",
    "gate__adoption__location",
    "gate__adoption__use_case",
    "opened_by",
    "decided_by",
).prefetch_related("signatures__user")


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


def evidence_state(gate: Gate, rows: list[dict[str, Any]]) -> Any:
    """What the polled part shows, without the ages that the browser counts itself."""
    return [
        gate.state,
        gate.version,
        [[r["key"], r["state"], str(r["value"]), r["note"], r["reason"], str(r["waiver"])] for r in rows],
    ]


class GatePage(Page):
    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        gate = get_permitted(GATES, request.user, pk)
        can_sign = may(gate, request.user, "sign")
        rows = selectors.evidence_rows(gate, may_waive=can_sign)
        review = selectors.open_review(gate)
        past = list(GateReview.objects.filter(gate=gate).select_related("decided_by").order_by("-created_at")[:10])
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
                "can_sign": can_sign,
                "signers": [slot.label for slot in SIGNERS[gate.number]],
                "reviews": past,
                "evidence_history": selectors.evidence_history(gate),
                "waivers": Waiver.objects.filter(gate=gate).select_related("granted_by")[:20],
                "now": wall_now(),
                "history": audit.history(gate),
                "reopening": WHAT_REOPENING_DOES if gate.state == GateState.REOPENED else "",
            },
        )


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


class ReviewOpen(ActionPage):
    model = Gate
    verb = "sign"
    success = ""

    def act(self, obj: Any) -> str:
        return services.review_open(actor=self.request.user, gate=obj).get_absolute_url()


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


def _frozen_at(review: GateReview) -> str:
    """When the evidence was frozen, as the snapshot itself says it."""
    said = review.snapshot.get("taken_at")
    return f"{moment_text(datetime.fromisoformat(said).astimezone(UTC))} UTC" if said else ""


def review_context(review: GateReview) -> dict[str, Any]:
    gate = review.gate
    return {
        "object": review,
        "gate": gate,
        "title": _("Review of gate {n}").format(n=gate.number),
        "subtitle": str(gate.adoption or gate.use_case),
        "rows": selectors.frozen_rows(review),
        "slots": selectors.signer_slots(review),
        "signatures": list(review.signatures.all()),
        "taken_at": _frozen_at(review),
        "intact": services.review_intact(review),
        "breadcrumbs": [*owner_crumbs(gate), (gate_title(gate), gate.get_absolute_url()), (_("Review"), "")],
    }


class ReviewPage(Page):
    """One review: what was frozen, who signed, and the decision. Its two forms come back here when refused."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        return self.show(get_permitted(REVIEWS, request.user, pk))

    def show(
        self, review: GateReview, *, sign: Any = None, decide: Any = None, status: int = 200, stale: bool = False
    ) -> HttpResponse:
        user = self.request.user
        is_open = review.state == ReviewState.OPEN
        gate = review.gate
        can_sign = is_open and may(review, user, "sign")
        verdict = (
            signing.may_sign(
                user=user,
                kind=services.signing_kind(gate),
                site=gate.adoption.site if gate.adoption else None,
                now=wall_now(),
            )
            if can_sign
            else None
        )
        signed = any(s.user_id == user.pk for s in review.signatures.all())
        options = [
            {"label": str(o.decision).replace("_", " "), "allowed": o.allowed, "why": "" if o.allowed else why_not(o)}
            for o in services.decisions_allowed(review.snapshot)
        ]
        return self.render(
            "usecases/review.html",
            review_context(review)
            | {
                "verdict": verdict,
                "signed": signed,
                "sign_form": (sign or SignForm()) if can_sign and verdict and verdict.allowed and not signed else None,
                "decide_form": (decide or DecideForm()) if can_sign and verdict and verdict.allowed else None,
                "can_withdraw": can_sign,
                "missing": services.missing_signatures(review) if is_open else [],
                "options": options,
                "history": audit.history(review),
                "stale": stale,
            },
            status,
        )


class ReviewPrint(Page):
    """A4, without scripts."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        review = get_permitted(REVIEWS, request.user, pk)
        return self.render("usecases/review_print.html", review_context(review) | {"printed_at": wall_now()})


class ReviewVerify(Page):
    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        review = get_permitted(REVIEWS, request.user, pk)
        context = review_context(review)
        context["breadcrumbs"] = [*context["breadcrumbs"][:-1], (_("Verify"), "")]
        return self.render(
            "usecases/review_verify.html",
            context | {"title": _("Verify the frozen evidence"), "result": services.review_verify(review)},
        )


class _ReviewVerb(ReviewPage):
    verb = "sign"

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        review = get_permitted(REVIEWS, request.user, pk, self.verb)
        raw = request.POST.get("version", "")
        version = int(raw) if raw.isdigit() else review.version
        form = self.form(request.POST)
        if form is not None and not form.is_valid():
            return self.refused(review, form, 422)
        try:
            self.act(review, form.cleaned_data if form is not None else {}, version)
        except StaleWrite as error:
            if form is not None:
                add_errors(form, error)
            fresh = get_permitted(REVIEWS, request.user, pk)
            return self.refused(fresh, form, 412)
        except DomainError as error:
            if form is None:
                messages.error(request, error.message)
                return HttpResponseRedirect(review.get_absolute_url())
            add_errors(form, error)
            return self.refused(get_permitted(REVIEWS, request.user, pk), form, int(error.status))
        messages.success(request, self.done)
        return HttpResponseRedirect(review.get_absolute_url())

    done = ""

    def form(self, data: Any) -> Any:
        return None

    def refused(self, review: GateReview, form: Any, status: int) -> HttpResponse:
        return self.show(review, status=status, stale=status == 412)

    def act(self, review: GateReview, data: dict[str, Any], version: int) -> None:
        raise NotImplementedError


class ReviewSign(_ReviewVerb):
    done = "Signed. Your appointment and certificate are kept with it."

    def form(self, data: Any) -> Any:
        return SignForm(data)

    def refused(self, review: GateReview, form: Any, status: int) -> HttpResponse:
        return self.show(review, sign=form, status=status, stale=status == 412)

    def act(self, review: GateReview, data: dict[str, Any], version: int) -> None:
        services.review_sign(actor=self.request.user, review=review, **data)


class ReviewDecide(_ReviewVerb):
    verb = "decide"
    done = "Decided. The evidence it was taken on is frozen."

    def form(self, data: Any) -> Any:
        return DecideForm(data)

    def refused(self, review: GateReview, form: Any, status: int) -> HttpResponse:
        return self.show(review, decide=form, status=status, stale=status == 412)

    def act(self, review: GateReview, data: dict[str, Any], version: int) -> None:
        services.review_decide(actor=self.request.user, review=review, expected_version=version, **data)


class ReviewWithdraw(_ReviewVerb):
    verb = "change"
    done = "Withdrawn. Open a new review when the evidence is ready."

    def act(self, review: GateReview, data: dict[str, Any], version: int) -> None:
        reason = self.request.POST.get("reason", "")[:300]
        services.review_withdraw(actor=self.request.user, review=review, reason=reason, expected_version=version)
