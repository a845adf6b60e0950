"""One review: what was frozen, who signs, what a decision would do, reminders, the print, and the proof that nothing changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from portal.core import audit
from portal.core.access import get_permitted, may
from portal.core.clock import moment_text, wall_now
from portal.core.errors import DomainError, StaleWrite
from portal.core.pages import ActionPage, FormPage, Page, add_errors, sent_version
from usecases import consequences, selectors, services
from usecases.choices import ReviewState
from usecases.gate_document import document_response
from usecases.gates_forms import DecideForm, DocumentForm, MeetForm, SignForm, WantByForm
from usecases.models import Gate, GateComment, GateCondition, GateReview
from usecases.services.audience import who_see
from usecases.views.gates import gate_crumbs, gate_title, owner_crumbs, term_rows

REVIEWS = GateReview.objects.select_related(
    "gate__use_case__owner",
    "gate__adoption__site",
    "gate__adoption__location",
    "gate__adoption__use_case",
    "opened_by",
    "decided_by",
).prefetch_related("signatures__user", "signatures__on_behalf_of", "terms__owner", "terms__met_by")


class ReviewOpen(ActionPage):
    model = Gate
    verb = "sign"
    success = ""

    def act(self, obj: Any) -> str:
        return services.review_open(actor=self.request.user, gate=obj).get_absolute_url()


def _frozen_at(review: GateReview) -> str:
    """When the evidence was frozen, as the snapshot itself says it."""
    said = review.snapshot.get("taken_at")
    return f"{moment_text(datetime.fromisoformat(said).astimezone(UTC))} UTC" if said else ""


def review_context(review: GateReview, user: Any, *, may_sign: bool = False) -> dict[str, Any]:
    gate = review.gate
    return {
        "object": review,
        "gate": gate,
        "title": _("Review of gate {n}").format(n=gate.number),
        "subtitle": str(gate.adoption or gate.use_case),
        "rows": selectors.frozen_rows(review),
        "slots": selectors.signer_slots(review),
        "signatures": list(review.signatures.all()),
        "terms": term_rows(list(review.terms.all()), user, may_sign=may_sign),
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
        can_sign = is_open and may(review, user, "sign")
        ways = services.may_sign_as(actor=user, review=review) if can_sign else []
        own = ways[0][1] if ways else None
        signed = any(s.user_id == user.pk for s in review.signatures.all())
        allowed = bool(own and own.allowed)
        any_way = any(verdict.allowed for _person, verdict in ways)
        return self.render(
            "usecases/review.html",
            review_context(review, user, may_sign=can_sign)
            | {
                "verdict": own,
                "signed": signed,
                "sign_form": (sign or sign_form(ways, review, user)) if any_way and not signed else None,
                "decide_form": (decide or decide_form(review)) if allowed else None,
                "can_sign": can_sign,
                "missing": services.missing_signatures(review) if is_open else [],
                "options": consequences.options(review) if is_open else [],
                "name_to_type": services.name_to_type(review.gate),
                "history": audit.history(review),
                "stale": stale,
                "overdue": is_open and review.signatures_due is not None and review.signatures_due <= wall_now(),
            },
            status,
        )


def sign_form(ways: list[tuple[Any, Any]], review: GateReview, user: Any, data: Any = None) -> SignForm:
    """``ways``: whose signature may be given. Who has signed, or been signed for, is not offered again."""
    taken = {s.person_id for s in review.signatures.all()}
    own = bool(ways and ways[0][1].allowed) and user.pk not in taken
    others = [person for person, verdict in ways if person is not None and verdict.allowed]
    return SignForm(data, others=others, alone=own or not others)


def decide_form(review: GateReview, data: Any = None) -> DecideForm:
    return DecideForm(
        data,
        gate=review.gate,
        open_keys=consequences.open_conditions(review),
        people=list(who_see(review.gate)),
        name=services.name_to_type(review.gate),
    )


class ReviewPrint(Page):
    """A4, without scripts."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        review = get_permitted(REVIEWS, request.user, pk)
        said = GateComment.objects.filter(gate=review.gate_id, withdrawn_at=None)
        return self.render(
            "usecases/review_print.html",
            review_context(review, request.user)
            | {
                "printed_at": wall_now(),
                "comments": said.filter(review=review).count(),
                "missing": services.missing_signatures(review),
            },
        )


class ReviewDocument(Page):
    """The frozen document byte by byte: its SHA-256 is the hash that was signed."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        review = get_permitted(REVIEWS, request.user, pk)
        return document_response(review)


class ReviewVerify(FormPage):
    """Hashes what is stored again; holds a copy that somebody kept against it."""

    form_class = DocumentForm
    template = "usecases/review_verify.html"

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(REVIEWS, self.request.user, pk)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        review = self.load(**kwargs)
        form = DocumentForm(request.POST, request.FILES)
        if not form.is_valid():
            return self.show(review, form, 422)
        field, content = form.content()
        found = services.document_check(review, content)
        if found["problem"]:
            form.add_error(field, found["problem"])
            return self.show(review, form, 422)
        self.checked = found
        return self.show(review, DocumentForm())

    checked: dict[str, Any] | None = None

    def more(self, obj: Any) -> dict[str, Any]:
        return review_context(obj, self.request.user) | {
            "title": _("Verify the frozen evidence"),
            "breadcrumbs": gate_crumbs(obj.gate, _("Verify")),
            "result": services.review_verify(obj),
            "checked": self.checked,
        }


class _ReviewVerb(ReviewPage):
    verb = "sign"
    done: Any = ""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        review = get_permitted(REVIEWS, request.user, pk, self.verb)
        sent = sent_version(request)
        version = review.version if sent is None else sent
        form = self.form(review, request.POST)
        if form is not None and not form.is_valid():
            return self.refused(review, form, 422)
        try:
            self.act(review, form, version)
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
        messages.success(request, str(self.done))
        return HttpResponseRedirect(review.get_absolute_url())

    def form(self, review: GateReview, data: Any) -> Any:
        return None

    def refused(self, review: GateReview, form: Any, status: int) -> HttpResponse:
        return self.show(review, status=status, stale=status == 412)

    def act(self, review: GateReview, form: Any, version: int) -> None:
        raise NotImplementedError


class ReviewSign(_ReviewVerb):
    done = gettext_lazy("Signed. What your right rests on is kept with it.")

    def form(self, review: GateReview, data: Any) -> Any:
        user = self.request.user
        return sign_form(services.may_sign_as(actor=user, review=review), review, user, data)

    def refused(self, review: GateReview, form: Any, status: int) -> HttpResponse:
        return self.show(review, sign=form, status=status, stale=status == 412)

    def act(self, review: GateReview, form: Any, version: int) -> None:
        services.review_sign(actor=self.request.user, review=review, **form.cleaned_data)


class ReviewDecide(_ReviewVerb):
    verb = "decide"
    done = gettext_lazy("Decided. The evidence it was taken on is frozen.")

    def form(self, review: GateReview, data: Any) -> Any:
        return decide_form(review, data)

    def refused(self, review: GateReview, form: Any, status: int) -> HttpResponse:
        return self.show(review, decide=form, status=status, stale=status == 412)

    def act(self, review: GateReview, form: Any, version: int) -> None:
        data = form.cleaned_data
        services.review_decide(
            actor=self.request.user,
            review=review,
            decision=data["decision"],
            note=data["note"],
            conditions=data["conditions"],
            conditions_due=data["conditions_due"],
            terms=form.terms(),
            confirm=data["confirm"],
            expected_version=version,
        )


class ReviewWithdraw(_ReviewVerb):
    verb = "change"
    done = gettext_lazy("Withdrawn. Open a new review when the evidence is ready.")

    def act(self, review: GateReview, form: Any, version: int) -> None:
        reason = self.request.POST.get("reason", "")[:300]
        services.review_withdraw(actor=self.request.user, review=review, reason=reason, expected_version=version)


class ReviewRemind(_ReviewVerb):
    def act(self, review: GateReview, form: Any, version: int) -> None:
        count = services.review_remind(actor=self.request.user, review=review)
        self.done = ngettext("%d person reminded.", "%d people reminded.", count) % count


class ReviewWantBy(FormPage):
    title = gettext_lazy("Until when signatures are wanted")
    form_class = WantByForm
    success = gettext_lazy("Changed. Reminders follow it.")

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(REVIEWS, self.request.user, pk, "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return WantByForm(data, initial={"signatures_due": obj.signatures_due})

    def more(self, obj: Any) -> dict[str, Any]:
        return {"subtitle": str(obj.gate), "breadcrumbs": gate_crumbs(obj.gate, _("Signatures"))}

    def save(self, obj: Any, form: Any) -> str:
        services.review_want_by(
            actor=self.request.user,
            review=obj,
            expected_version=sent_version(self.request),
            **form.cleaned_data,
        )
        return str(obj.get_absolute_url())


class ConditionMeet(FormPage):
    title = gettext_lazy("Confirm that it is met")
    form_class = MeetForm
    submit_label = gettext_lazy("It is met")
    success = gettext_lazy("Met. It stands in the history with your name.")

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        rows = GateCondition.objects.select_related(
            "review__gate__use_case", "review__gate__adoption__site", "review__gate__adoption__use_case"
        )
        return get_permitted(rows, self.request.user, pk, "change")

    def more(self, obj: Any) -> dict[str, Any]:
        return {"subtitle": str(obj), "breadcrumbs": gate_crumbs(obj.review.gate, _("Condition"))}

    def save(self, obj: Any, form: Any) -> str:
        services.condition_meet(
            actor=self.request.user,
            condition=obj,
            expected_version=sent_version(self.request),
            **form.cleaned_data,
        )
        return str(obj.review.gate.get_absolute_url())
