"""Scoring rounds: their list, opening and changing one, its page, who has answered, other weights. Answering: ``views.workshop``."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core import audit
from portal.core.access import get_permitted, require, require_global
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import User
from portal.core.pages import FormPage, ListPage, Page, limit_choices, sent_version
from usecases import ballot, ranking, services, standing, votes, wording
from usecases.choices import RoundState
from usecases.filters import ScoringRoundFilter
from usecases.models import ScoringRound, UseCase
from usecases.rounds_forms import RoundEditForm, RoundForm, SeatForm
from usecases.tables import RoundTable
from usecases.views.common import etag_of, polled
from usecases.views.ranking import ranked_rows, spoken

ROUNDS = ScoringRound.objects.select_related("criteria_set", "facilitator")


class RoundsPage(ListPage):
    title = gettext_lazy("Scoring")
    model = ScoringRound
    table_class = RoundTable
    filterset_class = ScoringRoundFilter
    create_url_name = "usecases:round-create"
    create_label = gettext_lazy("Open a round")
    create_permission = "usecases.add_usecase"
    empty = gettext_lazy(
        "No scoring round yet. Invite a plant manager, an OT engineer and a data scientist to rate your use cases."
    )

    def get_queryset(self) -> Any:
        return ROUNDS


class RoundCreate(FormPage):
    title = gettext_lazy("Open a scoring round")
    form_class = RoundForm
    template = "usecases/round_form.html"
    submit_label = gettext_lazy("Open the round")

    def load(self, **kwargs: Any) -> Any:
        require_global(self.request.user, "usecases.add_usecase", "open")

    def cancel_url(self, obj: Any) -> str:
        return reverse("usecases:rounds")

    def save(self, obj: Any, form: Any) -> str:
        data = form.cleaned_data
        for use_case in data["use_cases"]:
            require(use_case, self.request.user, "change")
        return services.round_open(
            actor=self.request.user,
            title=data["title"],
            criteria_set=data["criteria_set"],
            use_cases=list(data["use_cases"]),
            seats=data["seats"],
            weighting=data["weighting"],
            role_weights=form.weights(),
            due_at=data["due_at"],
        ).get_absolute_url()


class LedRound(FormPage):
    """A form of whoever leads the round."""

    verb = "change"

    def load(self, pk: Any = None, **kwargs: Any) -> ScoringRound:
        meeting: ScoringRound = get_permitted(ROUNDS, self.request.user, pk)
        services.require_lead(meeting, self.request.user, self.verb)
        return meeting

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        form = self.form_class(data=data, meeting=obj)
        limit_choices(form, self.request.user)
        return form

    def more(self, obj: Any) -> dict[str, Any]:
        trail = [(_("Scoring"), reverse("usecases:rounds")), (obj.title, obj.get_absolute_url()), (str(self.title), "")]
        return {"breadcrumbs": trail}


class RoundEdit(LedRound):
    title = gettext_lazy("Change the round")
    form_class = RoundEditForm

    def save(self, obj: Any, form: Any) -> str:
        version = sent_version(self.request)
        if version is not None and version != obj.version:
            raise StaleWrite
        data = {"title": form.cleaned_data["title"], "due_at": form.cleaned_data["due_at"]}
        data["role_weights"] = form.weights()
        services.round_update(actor=self.request.user, meeting=obj, data=data, expected_version=version)
        return str(obj.get_absolute_url())


class RoundSeats(LedRound):
    """Who is invited in which role; invite one more, or take somebody out."""

    title = gettext_lazy("Raters")
    form_class = SeatForm
    template = "usecases/round_seats.html"
    submit_label = gettext_lazy("Invite")
    verb = "invite to"

    def more(self, obj: Any) -> dict[str, Any]:
        seats = list(votes.seats_of(obj).values())
        roles = [seat.role for seat in seats]
        return super().more(obj) | {
            "seats": [{"seat": seat, "role": votes.role_label(seat.role)} for seat in seats],
            "lacking": [votes.role_label(role) for role in services.roles_missing(roles)],
            "is_open": obj.state == RoundState.OPEN,
        }

    def save(self, obj: Any, form: Any) -> str:
        person, role = form.cleaned_data["seat"]
        try:
            services.seat_add(actor=self.request.user, meeting=obj, person=person, role=role)
        except InvalidInput as error:
            raise InvalidInput({"seat": error.errors[0]["message"]}) from error
        messages.success(self.request, _("{person} is invited.").format(person=person))
        return reverse("usecases:round-seats", args=[obj.pk])


class RoundUnseat(Page):
    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk)
        services.require_lead(meeting, request.user, "take people out of")
        known = {str(p.pk): p for p in User.objects.filter(seats__round=meeting)}
        person = known.get(request.POST.get("person", ""))
        if person is None:
            raise InvalidInput({"person": _("This person is not invited.")})
        try:
            services.seat_remove(actor=request.user, meeting=meeting, person=person)
        except DomainError as error:
            messages.error(request, error.message)
        else:
            messages.success(request, _("{person} is no longer asked.").format(person=person))
        return HttpResponseRedirect(reverse("usecases:round-seats", args=[meeting.pk]))


class RoundPage(Page):
    """Rate one use case at a time; how far everybody is; once revealed, where people stand and the ranking."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        return self.show(get_permitted(ROUNDS, request.user, pk))

    def show(
        self,
        meeting: ScoringRound,
        *,
        status: int = 200,
        typed: Any = None,
        errors: Any = (),
        at: dict[str, str] | None = None,
    ) -> HttpResponse:
        """``typed`` is what was sent and refused; ``errors`` the sentences above the form, ``at`` those beside its fields."""
        user = self.request.user
        revealed = meeting.state != RoundState.OPEN
        loaded = ranking.shown(meeting) if revealed else None
        paper = ballot.of(meeting, user, loaded)
        running = votes.current_vote(meeting)
        chosen = self.request.POST.get("use_case") or self.request.GET.get("case")
        case = next((c for c in paper.cases if str(c.pk) == chosen), None) or next(iter(paper.cases), None)
        seat = paper.seats.get(user.pk)
        progress = ranking.progress(meeting, loaded or paper)
        leads = services.may_lead(meeting, user, len(paper.cases))
        context: dict[str, Any] = {
            "title": meeting.title,
            "breadcrumbs": [(_("Scoring"), reverse("usecases:rounds")), (meeting.title, "")],
            "object": meeting,
            "leads": leads,
            "seat": seat,
            "own_role": votes.role_label(seat.role) if seat else "",
            "rates": seat is not None and running is not None,
            "vote": running,
            "case": case,
            "errors": errors,
            "etag": etag_of(progress_state(meeting)),
            "steps": steps(meeting),
            "history": history(meeting),
            "nobody_rated": not revealed and not any(row["given"] for row in progress),
            **progress_context(meeting, progress),
        }
        if seat is not None and (running is not None or typed is not None):
            context |= self.paper(paper, case, typed, at or {})
        if loaded is not None:
            context |= self.revealed(meeting, loaded, case, leads=leads)
        return self.render("usecases/round.html", context, status)

    def paper(self, paper: ballot.Ballot, case: UseCase | None, typed: Any, at: dict[str, str]) -> dict[str, Any]:
        rated = typed if typed is not None and "use_case" in typed else None
        questions = [ballot.question(paper, case, leaf, rated, at) for leaf in paper.model.leaves] if case else []
        asked = sum(len(paper.asked(c)) for c in paper.cases)
        context: dict[str, Any] = {
            "case_tabs": ballot.case_tabs(paper, case, "rate"),
            "questions": questions,
            "to_keep": asked - sum(paper.answered(c) for c in paper.cases),
            "unsaved": [q for q in questions if q["value"] or q["comment"]] if rated is not None else [],
        }
        if votes.is_pairwise(paper.meeting):
            compared = typed if rated is None else None
            context |= {"pairs": ballot.comparisons(paper, compared, at), "own_opinion": ballot.consistency(paper)}
        return context

    def revealed(self, meeting: ScoringRound, loaded: Any, case: UseCase | None, *, leads: bool) -> dict[str, Any]:
        table = standing.of_round(self.request.user, meeting, loaded)
        seen = {str(c.pk) for c in table.cases}
        shown = case if case is not None and str(case.pk) in seen else next(iter(table.cases), None)
        result = ranking.told(meeting, table)
        agreement = [row for row in ranking.agreement(loaded) if row["use_case"] in seen]
        names = loaded.model.names
        compared = ranking.comparison(loaded)
        moved = meeting.result.get("changes", []) if meeting.state == RoundState.CLOSED else []
        return {
            "revealed": True,
            "result": result,
            "verdict_text": spoken(result),
            "verdict_label": wording.verdict_label(result["verdict"]),
            "verdict_tone": wording.VERDICTS.get(result["verdict"], "unknown"),
            "ranking": ranked_rows(result, table),
            "ranking_url": ballot.method_url(meeting),
            "sliders": [
                {
                    "name": c.key,
                    "label": c.name,
                    "value": round(100 * float(w)),
                    "agreed": round(100 * float(w)),
                    "text": f"{100 * float(w):.0f} %",
                }
                for c, w in zip(loaded.model.tops, loaded.model.tree.top_weights, strict=True)
            ],
            "disagreements": sorted((r for r in agreement if r["disagrees"]), key=lambda r: -r["spread"])[:12],
            "answers_case": shown,
            "answer_tabs": [
                {"label": c.title, "url": f"?case={c.pk}#answers", "active": c == shown, "count": None}
                for c in table.cases
            ],
            "spread": ballot.spread(
                loaded, shown, self.request.user, names=meeting.facilitator_id == self.request.user.pk
            )
            if shown is not None
            else [],
            "legend": ballot.legend(loaded),
            "moved": [row | {"role": votes.role_label(row["role"])} for row in moved if row["use_case"] in seen],
            "voted_twice": meeting.state == RoundState.CLOSED and any(r.vote == 2 for r in loaded.every),
            "group_opinion": compared and compared | {"named": [(names[k], w) for k, w in compared["weights"].items()]},
            "group_doubt": group_doubt(compared, names),
            "kappa": result.get("kappa", 0),
            "draws": result.get("draws", 0),
        }


def history(meeting: ScoringRound) -> list[Any]:
    """The steps of the round; single answers are counted in the audit trail. What it was opened with and its ranking stand on the
    page, and there without the use cases that somebody may not see."""
    entries = audit.history(meeting, action="scoringround.")
    for entry in entries:
        if entry.action == "scoringround.open":
            entry.changes = {}
        entry.changes.pop("ranking", None)
    return entries


def group_doubt(compared: dict[str, Any] | None, names: dict[str, str]) -> str:
    found = compared and compared.get("revisit")
    if not found:
        return ""
    return _("The group's comparisons disagree most here: {said}, while the others say {implied}.").format(
        said=ballot.ratio_words(names[found["first"]], names[found["second"]], found["given"]),
        implied=ballot.ratio_words(names[found["first"]], names[found["second"]], found["implied"]),
    )


def steps(meeting: ScoringRound) -> list[dict[str, Any]]:
    """The steps of a round, and which is the present one."""
    order = [RoundState.OPEN, RoundState.REVEALED, RoundState.SECOND, RoundState.CLOSED]
    at = order.index(RoundState(meeting.state))
    return [
        {"label": state.label, "state": "done" if i < at else "now" if i == at else "later"}
        for i, state in enumerate(order)
    ]


def progress_state(meeting: ScoringRound) -> Any:
    """What the polled part depends on: every answer, seat and step moves ``updated_at``."""
    return [str(meeting.pk), meeting.state, meeting.updated_at.isoformat(), meeting.due_at]


def progress_context(meeting: ScoringRound, rows: list[dict[str, Any]]) -> dict[str, Any]:
    taken = [row["role"] for row in rows]
    lacking = services.roles_missing(taken)
    return {
        "object": meeting,
        "progress": rows,
        "finished": sum(1 for row in rows if row["done"]),
        "invited": len(rows),
        "running": votes.current_vote(meeting),
        "is_open": meeting.state == RoundState.OPEN,
        "lacking": [votes.role_label(role) for role in lacking],
    }


class RoundProgress(Page):
    """The polled part: who has answered how much, and whether the round has moved on."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk)
        about = progress_state(meeting)
        if etag_of(about) in request.headers.get("If-None-Match", ""):
            return polled(request, "usecases/_progress.html", {}, about)
        rows = ranking.progress(meeting)
        return polled(request, "usecases/_progress.html", progress_context(meeting, rows), about)


class RoundWhatIf(RoundPage):
    """Weights from the sliders in, the ranking out: JSON for the sliders, the page without scripts. Writes nothing."""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk)
        try:
            table = standing.of_round(request.user, meeting)
            result = ranking.rank(table, self.weights(table.model))
        except DomainError as error:
            body = {"code": error.code, "detail": error.message, "errors": error.errors}
            return JsonResponse(body, status=int(error.status))
        if "text/html" in request.headers.get("Accept", "") and not self.partial:
            return self.render(
                "usecases/what_if.html",
                {
                    "title": meeting.title,
                    "object": meeting,
                    "verdict_text": spoken(result),
                    "ranking": ranked_rows(result, table),
                    "weights": result["weights"],
                },
            )
        return JsonResponse(
            {
                "verdict": spoken(result),
                "rows": ranked_rows(result, table),
                "label": wording.verdict_label(result["verdict"]),
            }
        )

    def weights(self, model: ranking.Model) -> dict[str, float]:
        weights, wrong = {}, {}
        for top in model.tops:
            try:
                weights[top.key] = float(self.request.POST.get(top.key, ""))
            except ValueError:
                wrong[top.key] = _("A weight for each criterion is needed.")
        if wrong:
            raise InvalidInput(wrong)
        return weights
