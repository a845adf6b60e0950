"""The sentences of an ROI review: the calculator gives keys and figures, this page the words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from django.utils.translation import gettext as _

from portal.core.clock import day_text
from usecases.domain.sentences import Sentence


def _templates() -> dict[str, str]:
    return {
        "roi.improved": _(
            "{percent} % better than the baseline, between {low_percent} and {high_percent} % with {confidence_percent} % "
            "confidence."
        ),
        "roi.worsened": _(
            "{worse_percent} % worse than the baseline, between {worse_low} and {worse_high} % with {confidence_percent} % "
            "confidence."
        ),
        "roi.not_provable_yet": _(
            "Not provable yet: {percent} % better is the estimate, but anything between {low_percent} and {high_percent} % "
            "fits what was measured."
        ),
        "roi.nothing_to_compare": _("Nothing to compare: no event before and none after."),
        "roi.as_planned": _("The plan of {planned_percent} % lies inside that interval."),
        "roi.above_plan": _("That is more than the {planned_percent} % planned."),
        "roi.below_plan": _("That is less than the {planned_percent} % planned."),
        "roi.not_provable_until": _("Not provable until {until} (plant time) at the present pace."),
        "roi.blocks_needed": _("It takes {blocks} blocks (weeks or readings) after the start in all."),
        "roi.provable": _("{events} events before are enough to prove {percent} % less."),
        "roi.too_few_events": _("{events} events are too few to prove {percent} % less; {needed} are."),
        "roi.pool_plants": _("Or pool {plants} plants like this one."),
        "roi.wait_times": _("Or wait for {times} times the baseline's exposure."),
        "roi.waiting_does_not_help": _("Waiting does not help: the baseline itself is too uncertain."),
    }


def _figure(key: str, value: Any) -> Any:
    if key == "until":
        return day_text(date.fromisoformat(str(value)[:10]))
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            return _("any")
        return f"{value:.3g}"
    return value


def say(sentence: Sentence) -> str:
    raw: dict[str, Any] = dict(sentence.figures)
    if sentence.key == "roi.worsened":
        raw |= {
            "worse_percent": -float(raw["percent"]),
            "worse_low": -float(raw["high_percent"]),
            "worse_high": -float(raw["low_percent"]),
        }
    return _templates()[sentence.key].format(**{name: _figure(name, value) for name, value in raw.items()})


#: What it would take is left out where all of it is there already.
_TAKES = frozenset(
    {
        "roi.blocks_needed",
        "roi.too_few_events",
        "roi.pool_plants",
        "roi.wait_times",
        "roi.waiting_does_not_help",
        "roi.provable",
    }
)


def paragraph(sentences: Iterable[Sentence], *, enough: bool = False) -> str:
    """``enough``: there is as much data as it takes to prove the planned gain, and still nothing is proved."""
    said = [say(sentence) for sentence in sentences if not (enough and sentence.key in _TAKES)]
    if enough:
        said.append(enough_words())
    return " ".join(said)


def enough_words() -> str:
    return _("The readings would be enough to prove the planned gain; what was measured is smaller, or chance.")
