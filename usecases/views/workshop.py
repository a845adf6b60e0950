"""Answering in a round, and the steps of whoever leads it. A refusal shows what was typed and saves nothing."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from portal.core.access import get_permitted
from portal.core.errors import DomainError, InvalidInput
from portal.core.pages import Page
from usecases import ballot, ranking, services, votes
from usecases.choices import RoundState
from usecases.models import Criterion, ScoringRound, UseCase
from usecases.views.rounds import ROUNDS, RoundPage

_AT = re.compile(r"\w+\[(\d+)\]\.(\w+)")


def _number(raw: str) -> float | None:
    try:
        return float(raw)
    except ValueError:
        return None


class Answering(RoundPage):
    """Takes answers as a form, or piece by piece from the page's script, which gets JSON."""

    def vote(self) -> int | None:
        raw = self.request.POST.get("vote", "")
        if raw not in {"", "1", "2"}:
            raise InvalidInput({"vote": _("This form names a vote that there is not: open the page again.")})
        return int(raw) if raw else None

    @property
    def scripted(self) -> bool:
        return self.request.headers.get("Accept", "").startswith("application/json")

    def refuse(self, meeting: ScoringRound, error: DomainError, at: dict[str, str]) -> HttpResponse:
        """``at``: field of the form -> what is wrong with it."""
        status = 422 if isinstance(error, InvalidInput) else int(error.status)
        if self.scripted:
            rows = [{"field": name, "message": text} for name, text in at.items()]
            body = {"code": error.code, "detail": error.message, "errors": rows, "state": meeting.state}
            return JsonResponse(body, status=status)
        meeting.refresh_from_db()
        above = [] if isinstance(error, InvalidInput) and at else [error.message]
        above += [text for name, text in at.items() if not name]
        return self.show(meeting, status=status, typed=self.request.POST, errors=above, at=at)


def _fields(error: DomainError, names: list[str]) -> dict[str, str]:
    """A service's errors, by the fields of the form: ``names`` are the subjects of its rows, in their order."""
    found: dict[str, str] = {}
    for row in error.errors:
        match = _AT.match(str(row.get("field", "")))
        if match and int(match[1]) < len(names):
            part = names[int(match[1])]
            found[part if part.startswith("pair-") else f"{match[2]}-{part}"] = row["message"]
        else:
            found[""] = row["message"]
    return found


class RoundRate(Answering):
    """Write the ratings of one use case."""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk, "rate")
        leaves = ranking.model_of(meeting.criteria_set).leaves
        cases = list(meeting.use_cases.order_by("title", "pk"))
        case = next((c for c in cases if str(c.pk) == request.POST.get("use_case")), None)
        if case is None:
            return self.refuse(meeting, InvalidInput({"use_case": ""}), {"": _("This use case is not in the round.")})
        rows, at = self.rows(case, leaves)
        if not rows and not at:
            at[""] = _("Choose a level for at least one question.")
        if at:
            return self.refuse(meeting, InvalidInput(at), at)
        try:
            services.ratings_put(actor=request.user, meeting=meeting, rows=rows, vote=self.vote())
        except DomainError as error:
            return self.refuse(meeting, error, _fields(error, [str(row["criterion"].pk) for row in rows]))
        if self.scripted:
            return JsonResponse({"saved": [str(row["criterion"].pk) for row in rows]})
        messages.success(request, _("Saved {n} answers on {case}.").format(n=len(rows), case=case))
        return HttpResponseRedirect(f"{meeting.get_absolute_url()}?case={self.after(cases, case).pk}#rate")

    def after(self, cases: list[UseCase], case: UseCase) -> UseCase:
        stays = self.request.POST.get("stay")
        return case if stays else cases[(cases.index(case) + 1) % len(cases)]

    def rows(self, case: UseCase, leaves: tuple[Criterion, ...]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        rows, at = [], {}
        said = self.request.POST
        for leaf in leaves:
            raw = said.get(f"value-{leaf.pk}", "") or said.get(f"exact-{leaf.pk}", "")
            comment = said.get(f"comment-{leaf.pk}", "").strip()
            if raw == "":
                if comment:
                    at[f"value-{leaf.pk}"] = _("Choose a level, or that you don't know; your comment goes with it.")
                continue
            value = None if raw == "none" else _number(raw)
            if value is None and raw != "none":
                at[f"value-{leaf.pk}"] = _("Choose a level from 0 to 5.")
            reason = said.get(f"reason-{leaf.pk}", "")
            rows.append({"use_case": case, "criterion": leaf, "value": value, "comment": comment, "reason": reason})
        return rows, at


class RoundCompare(Answering):
    """Write the own comparisons of the top criteria."""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk, "rate")
        tops = ranking.model_of(meeting.criteria_set).tops
        rows, names = [], []
        at: dict[str, str] = {}
        for first, second in votes.pairs(tops):
            name = f"pair-{first.pk}-{second.pk}"
            raw = request.POST.get(name, "")
            if raw == "":
                continue
            value = ballot.ratio_of(raw)
            if value is None:
                at[name] = _("Choose one of the sentences.")
                continue
            rows.append({"first": first, "second": second, "value": value})
            names.append(name)
        if not rows and not at:
            at[""] = _("Compare at least one pair.")
        if at:
            return self.refuse(meeting, InvalidInput(at), at)
        try:
            services.judgements_put(actor=request.user, meeting=meeting, rows=rows, vote=self.vote())
        except DomainError as error:
            return self.refuse(meeting, error, _fields(error, names))
        if self.scripted:
            told = ranking.consistency(meeting, request.user)
            known = {top.key: top.name for top in tops}
            return JsonResponse({"saved": names, "text": ballot.doubt(told, known), "agrees": told["consistent"]})
        messages.success(request, _("Your comparison is saved."))
        return HttpResponseRedirect(f"{meeting.get_absolute_url()}#compare")


class RoundKeep(Page):
    """In the second vote: keep the first answers where none was given yet."""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk, "rate")
        try:
            kept = services.votes_keep(actor=request.user, meeting=meeting)
        except DomainError as error:
            if error.code == "not_allowed":
                raise
            messages.error(request, error.message)
        else:
            messages.success(request, _("Kept {n} of your first answers.").format(n=kept))
        return HttpResponseRedirect(meeting.get_absolute_url())


class Step(Page):
    """One step of the round, by whoever leads it."""

    verb = ""
    done = ""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk)
        services.require_lead(meeting, request.user, self.verb)
        try:
            target = self.take(meeting)
        except DomainError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(meeting.get_absolute_url())
        messages.success(request, self.said())
        return HttpResponseRedirect(target or meeting.get_absolute_url())

    def take(self, meeting: ScoringRound) -> str | None:
        raise NotImplementedError

    def said(self) -> str:
        raise NotImplementedError


class RoundReveal(Step):
    verb = "reveal"

    def take(self, meeting: ScoringRound) -> None:
        services.round_reveal(actor=self.request.user, meeting=meeting)

    def said(self) -> str:
        return _("Revealed. Everybody sees the answers now.")


class RoundSecondVote(Step):
    verb = "start the second vote of"

    def take(self, meeting: ScoringRound) -> None:
        services.round_second_vote(actor=self.request.user, meeting=meeting)

    def said(self) -> str:
        return _("The second vote runs. Who does not answer again keeps the first answer.")


class Considered(Step):
    """A step without a way back: its page says first what it does to how many things."""

    submit_label: ClassVar[Any] = ""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk)
        services.require_lead(meeting, request.user, self.verb)
        if refusal := self.refusal(meeting):
            messages.error(request, refusal)
            return HttpResponseRedirect(meeting.get_absolute_url())
        return self.render(
            "generic/confirm.html",
            {
                "title": str(self.title).format(round=meeting),
                "breadcrumbs": [
                    (_("Scoring"), reverse("usecases:rounds")),
                    (meeting.title, meeting.get_absolute_url()),
                    (self.submit_label, ""),
                ],
                "action_url": request.path,
                "cancel_url": meeting.get_absolute_url(),
                "submit_label": self.submit_label,
                **self.about(meeting),
            },
        )

    def refusal(self, meeting: ScoringRound) -> str:
        """Why the step cannot be taken now, as the service would say it."""
        raise NotImplementedError

    def about(self, meeting: ScoringRound) -> dict[str, Any]:
        """``text``, ``effects``, ``undo_text``, ``danger``: see components/confirm.html."""
        raise NotImplementedError


class RoundClose(Considered):
    verb = "close"
    title = gettext_lazy("Close “{round}”?")
    submit_label = gettext_lazy("Close and freeze")

    def refusal(self, meeting: ScoringRound) -> str:
        if meeting.state == RoundState.CLOSED:
            return _("This round is closed; its result is frozen.")
        return "" if meeting.ratings.exists() else _("Nobody has rated anything yet, so there is no result.")

    def about(self, meeting: ScoringRound) -> dict[str, Any]:
        rows = ranking.progress(meeting)
        late = [row for row in rows if row["given"] < row["asked"]]
        missing = sum(row["asked"] - row["given"] for row in late)
        cases = meeting.use_cases.count()
        effects = [
            {
                "count": cases,
                "label": ngettext(
                    "use case keeps the score it has now, and its first gate is measured again",
                    "use cases keep the scores they have now, and their first gates are measured again",
                    cases,
                ),
            }
        ]
        if late:
            effects += [
                {
                    "count": len(late),
                    "label": ngettext(
                        "person has not finished and cannot answer any more",
                        "people have not finished and cannot answer any more",
                        len(late),
                    ),
                },
                {
                    "count": missing,
                    "label": ngettext(
                        "answer stays missing, which is not counted as zero",
                        "answers stay missing, which are not counted as zero",
                        missing,
                    ),
                },
            ]
            if votes.current_vote(meeting) == 2:
                effects[-1]["label"] = ngettext(
                    "answer is not given again: what was said in the first vote stays",
                    "answers are not given again: what was said in the first vote stays",
                    missing,
                )
        return {
            "text": _(
                "The answers are shown to everybody and the result is frozen: measured values, weights and ranking."
            ),
            "effects": effects,
            "undo_text": _("A closed round is never opened again; a new round can follow at any time."),
            "danger": False,
        }

    def take(self, meeting: ScoringRound) -> None:
        services.round_close(actor=self.request.user, meeting=meeting)

    def said(self) -> str:
        return _("Closed. The result is frozen.")


class RoundWithdraw(Considered):
    verb = "withdraw"
    title = gettext_lazy("Withdraw “{round}”?")
    submit_label = gettext_lazy("Withdraw")

    def refusal(self, meeting: ScoringRound) -> str:
        if meeting.state != RoundState.OPEN:
            return _("Only a round in its first vote can be withdrawn.")
        answered = meeting.ratings.exists() or meeting.judgements.exists()
        return _("Somebody has answered already: close the round instead.") if answered else ""

    def about(self, meeting: ScoringRound) -> dict[str, Any]:
        people = votes.seats_of(meeting)
        return {
            "text": _("The round is deleted. Nobody has answered in it, so no answer is lost."),
            "effects": [
                {
                    "count": len(people),
                    "label": ngettext(
                        "person was invited and is told that it was withdrawn",
                        "people were invited and are told that it was withdrawn",
                        len(people),
                    ),
                }
            ],
            "undo_text": _("The use cases and the criteria stay as they are."),
        }

    def take(self, meeting: ScoringRound) -> str:
        services.round_withdraw(actor=self.request.user, meeting=meeting)
        return reverse("usecases:rounds")

    def said(self) -> str:
        return _("Withdrawn. Everybody who was invited is told.")
