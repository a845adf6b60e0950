"""What one person sees of a round: the questions with their own answers, and, once revealed, where the others stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from usecases import ranking, votes
from usecases.choices import RoundState
from usecases.loading import Loaded, Model, framed, told_opinion
from usecases.measured import MeasuredScore
from usecases.models import Criterion, Judgement, Rating, ScoringRound, Seat, UseCase

#: The strength of a comparison in words, as it is offered; below equal the other criterion is named first.
STRENGTHS = (9, 8, 7, 6, 5, 4, 3, 2)


@dataclass
class Ballot:
    """A round as one person may fill it in. ``own``: this person's ratings of both votes, never anybody else's."""

    meeting: ScoringRound
    model: Model
    cases: list[UseCase]
    seats: dict[Any, Seat]
    measured: dict[tuple[Any, str], MeasuredScore]
    own: list[Rating]
    compared: list[Judgement]

    @property
    def latest(self) -> dict[tuple[Any, Any], Rating]:
        """Own answers by use case and criterion, the second vote's before the first's."""
        return {(r.use_case_id, r.criterion_id): r for r in votes.effective(self.own, 2)}

    def asked(self, case: UseCase) -> list[Criterion]:
        """The criteria of a use case that somebody has to judge."""
        return [leaf for leaf in self.model.leaves if self.number(case, leaf) is None]

    def number(self, case: UseCase, leaf: Criterion) -> float | None:
        score = self.measured.get((case.pk, leaf.key))
        return score.rating if score is not None else None

    def answered(self, case: UseCase) -> int:
        """How many of the asked criteria this person has answered in the vote that runs."""
        running = votes.current_vote(self.meeting) or 2
        wanted = {leaf.pk for leaf in self.asked(case)}
        given = {r.criterion_id for r in self.own if r.use_case_id == case.pk and r.vote == running}
        return len(wanted & given)


def of(meeting: ScoringRound, user: Any, loaded: Loaded | None) -> Ballot:
    """``loaded``: the round as everybody may see it, where it is revealed; it saves reading again."""
    compared: list[Judgement] = []
    if votes.is_pairwise(meeting):
        compared = list(Judgement.objects.filter(round=meeting, rater=user))
    if loaded is not None:
        own = [r for r in loaded.every if r.rater_id == user.pk]
        return Ballot(meeting, loaded.model, loaded.cases, loaded.seats, loaded.measured, own, compared)
    frame = framed(meeting)
    own = list(Rating.objects.filter(round=meeting, rater=user)) if user.pk in frame.seats else []
    return Ballot(meeting, frame.model, frame.cases, frame.seats, frame.measured, own, compared)


def text_of(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def question(
    ballot: Ballot, case: UseCase, leaf: Criterion, typed: Mapping[str, Any] | None, errors: Mapping[str, str]
) -> dict[str, Any]:
    """One criterion of one use case as the form shows it; ``typed`` is what was sent and refused."""
    given = ballot.latest.get((case.pk, leaf.pk))
    before = next(
        (r for r in ballot.own if r.vote == 1 and (r.use_case_id, r.criterion_id) == (case.pk, leaf.pk)), None
    )
    score = ballot.measured.get((case.pk, leaf.key))
    number = ballot.number(case, leaf)
    shown = given if number is None or (given is not None and given.measured is not None) else None
    value = text_of(shown.value) if shown is not None else ""
    comment, reason = (given.comment, given.reason) if given is not None else ("", "")
    if typed is not None:
        value = typed.get(f"value-{leaf.pk}", "") or typed.get(f"exact-{leaf.pk}", "")
        comment, reason = typed.get(f"comment-{leaf.pk}", ""), typed.get(f"reason-{leaf.pk}", "")
    rubric = (list(leaf.rubric) + [""] * 6)[:6]
    whole = {str(n) for n in range(6)} | {"none", ""}
    second = ballot.meeting.state == RoundState.SECOND
    return {
        "pk": leaf.pk,
        "criterion": leaf,
        "value": value,
        "exact": "" if value in whole else value,
        "slider": value if value not in {"", "none"} else "2.5",
        "levels": [{"value": str(n), "text": text, "checked": value == str(n)} for n, text in enumerate(rubric)],
        "dont_know": value == "none",
        "comment": comment,
        "reason": reason,
        "score": score,
        "measured": number is not None,
        "open": bool(value) or f"reason-{leaf.pk}" in errors,
        "answered": shown is not None and (not second or (given is not None and given.vote == 2)),
        "first_answer": _in_words(before) if second and before is not None else "",
        "errors": [errors[name] for name in (f"{part}-{leaf.pk}" for part in _PARTS) if name in errors],
        "bad": {part: errors.get(f"{part}-{leaf.pk}", "") for part in _PARTS},
    }


_PARTS = ("value", "comment", "reason")


def _in_words(row: Rating) -> str:
    return _("I don't know") if row.value is None else f"{row.value:g}"


def comparisons(ballot: Ballot, typed: Mapping[str, Any] | None, errors: Mapping[str, str]) -> list[dict[str, Any]]:
    """The pairs of top criteria with the choices in words and the own answer."""
    running = votes.effective(ballot.compared, 2)
    given = {(row.first_id, row.second_id): row.value for row in running}
    rows = []
    for first, second in votes.pairs(ballot.model.tops):
        name = f"pair-{first.pk}-{second.pk}"
        known = given.get((first.pk, second.pk))
        chosen = _choice(known) if known is not None else ""
        if typed is not None:
            chosen = typed.get(name, "")
        options = strengths(first.name, second.name)
        if chosen and chosen not in {value for value, _text in options}:
            options = [(chosen, chosen), *options] if known is not None and typed is None else options
        rows.append(
            {
                "name": name,
                "first": first,
                "second": second,
                "chosen": chosen,
                "options": options,
                "error": errors.get(name, ""),
            }
        )
    return rows


def _choice(value: float) -> str:
    if value >= 1:
        return f"{value:g}" if abs(value - round(value)) > 1e-6 else str(round(value))
    turned = 1 / value
    return f"1/{turned:g}" if abs(turned - round(turned)) > 1e-6 else f"1/{round(turned)}"


def strengths(first: str, second: str) -> list[tuple[str, str]]:
    """Every step of the scale as a sentence."""
    sentence = _("{a} is {n} times as important as {b}")
    return [
        *((str(n), sentence.format(a=first, b=second, n=n)) for n in STRENGTHS),
        ("1", _("{a} and {b} are equally important").format(a=first, b=second)),
        *((f"1/{n}", sentence.format(a=second, b=first, n=n)) for n in reversed(STRENGTHS)),
    ]


def ratio_of(text: str) -> float | None:
    """ "3" or "1/3" as a number; None for anything else."""
    top, slash, bottom = text.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        return None


def consistency(ballot: Ballot) -> dict[str, Any]:
    """Whether the own comparisons agree with each other, and the one to look at again in words."""
    tops = ballot.model.tops
    told = told_opinion(tops, votes.opinion(tops, votes.effective(ballot.compared, 2)))
    return told | {"sentence": doubt(told, ballot.model.names), "weights": _named(told, ballot.model.names)}


def _named(told: Mapping[str, Any], names: Mapping[str, str]) -> list[tuple[str, float]]:
    return [(names[key], weight) for key, weight in told["weights"].items()]


def doubt(told: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """ "These answers disagree: look again", with the one comparison and what the others imply; empty where they agree."""
    found = told.get("revisit")
    if not found:
        return ""
    return _("These answers disagree: look again. You say {said}; your other answers say {implied}.").format(
        said=ratio_words(names[found["first"]], names[found["second"]], found["given"]),
        implied=ratio_words(names[found["first"]], names[found["second"]], found["implied"]),
    )


def ratio_words(first: str, second: str, value: float) -> str:
    if value < 1:
        first, second, value = second, first, 1 / value
    if value < 1.05:
        return _("{a} and {b} are equally important").format(a=first, b=second)
    return _("{a} is {n} times as important as {b}").format(a=first, b=second, n=f"{value:.2g}")


# ---- after the reveal -------------------------------------------------------------------------------------------------


def spread(loaded: Loaded, case: UseCase, viewer: Any, *, names: bool) -> list[dict[str, Any]]:
    """Per criterion of a use case: where each answer lies, by role; names for the facilitator, and one's own as "you"."""
    short = initials({seat.role for seat in loaded.seats.values()})
    known = {(row["use_case"], row["criterion"]): row for row in ranking.agreement(loaded)}
    out = []
    for leaf in loaded.model.leaves:
        row = known[str(case.pk), leaf.key]
        given = [r for r in loaded.ratings if r.use_case_id == case.pk and r.criterion_id == leaf.pk]
        if row["derived"] is not None:
            given = loaded.overrides.get((case.pk, leaf.key), [])
        dots: list[dict[str, Any]] = []
        for rating in sorted(given, key=lambda r: (r.value is None, r.value or 0, r.rater_role)):
            seat = loaded.seats.get(rating.rater_id)
            own = rating.rater_id == viewer.pk
            who = _("you") if own else str(seat.person) if names and seat is not None else ""
            at = None if rating.value is None else round(10 * rating.value)
            dots.append(
                {
                    "at": at,
                    "level": sum(1 for d in dots if d["at"] is not None and at is not None and abs(d["at"] - at) < 3),
                    "short": short.get(rating.rater_role, "–"),
                    "role": votes.role_label(rating.rater_role),
                    "who": who,
                    "own": own,
                    "value": rating.value,
                    "comment": rating.comment,
                    "reason": rating.reason,
                }
            )
        out.append(
            row
            | {
                "dots": dots,
                "levels": max((d["level"] for d in dots), default=0),
                "mean_at": None if row["mean"] is None else round(10 * row["mean"]),
                "score": loaded.measured.get((case.pk, leaf.key)),
                "tone": "watch" if row["disagrees"] else "",
            }
        )
    return out


def initials(roles: set[str]) -> dict[str, str]:
    """Two letters for each role: those of its first two words, or the acronym it begins with."""
    found = {}
    for role in roles:
        words = votes.role_label(role).replace("-", " ").split()
        acronym = len(words[0]) == 2 and words[0].isupper()
        found[role] = (
            "".join(w[0] for w in words[:2]).upper() if len(words) > 1 and not acronym else words[0][:2].upper()
        )
    return found


def legend(loaded: Loaded) -> list[tuple[str, str]]:
    roles = {seat.role for seat in loaded.seats.values()}
    short = initials(roles)
    return sorted((short[role], votes.role_label(role)) for role in roles)


def case_tabs(ballot: Ballot, chosen: UseCase | None, anchor: str) -> list[dict[str, Any]]:
    return [
        {
            "label": case.title,
            "url": f"?case={case.pk}#{anchor}",
            "active": chosen is not None and case.pk == chosen.pk,
            "count": f"{ballot.answered(case)}/{len(ballot.asked(case))}" if anchor == "rate" else None,
        }
        for case in ballot.cases
    ]


def method_url(meeting: ScoringRound) -> str:
    return reverse("usecases:round-ranking", args=[meeting.pk])
