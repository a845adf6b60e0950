"""The sentences the pages say where the calculators give keys and figures. The method itself lives in a drawer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from usecases.domain.sentences import Sentence


def _templates() -> dict[str, str]:
    return {
        "robustness.only_one": _("{winner} is the only rated use case, so there is nothing to rank it against."),
        "robustness.clear_winner": _("Clear winner: {winner}."),
        "robustness.close_call": _("Close call: {winner} just ahead of {runner_up}."),
        "robustness.coin_toss": _("Coin toss between {winner} and {runner_up}."),
        "robustness.tied": _("{winner} and {runner_up} share the first place."),
        "robustness.first_in": _("{winner} is first in {in_100} of 100 plausible weightings"),
        "robustness.runner_up": _("{runner_up} in {in_100}."),
        "robustness.overtakes_if_rises": _(
            "{rival} overtakes {winner} if the weight of {criterion} rises from {from_percent} to {to_percent} %."
        ),
        "robustness.overtakes_if_falls": _(
            "{rival} overtakes {winner} if the weight of {criterion} falls from {from_percent} to {to_percent} %."
        ),
        "robustness.no_single_weight": _("No change of a single weight dethrones {winner}."),
    }


def _figure(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) else value


def say(sentence: Sentence) -> str:
    figures = {name: _figure(value) for name, value in sentence.figures.items()}
    return _templates()[sentence.key].format(**figures)


def paragraph(sentences: Iterable[Sentence], names: dict[str, str] | None = None) -> str:
    """All sentences in a row; ``names`` turns criterion keys into names."""
    said: list[str] = []
    for sentence in sentences:
        figures = {k: (names or {}).get(str(v), v) if k == "criterion" else v for k, v in sentence.figures.items()}
        text = say(Sentence(sentence.key, figures))
        if sentence.key == "robustness.first_in":
            text += ";"
        said.append(text)
    return " ".join(said)


VERDICTS = {
    "clear_winner": "ok",
    "close_call": "watch",
    "coin_toss": "breach",
    "only_one": "unknown",
}


def sentence_for(result: Mapping[str, Any], visible: Collection[str]) -> str:
    """The sentence of a round's result, for somebody who may see all that it ranks; for others the verdict without names."""
    if all(row["id"] in visible for row in result.get("rows", ())):
        return str(result.get("sentence", ""))
    return verdict_label(result.get("verdict", ""))


def verdict_label(verdict: str) -> str:
    return {
        "clear_winner": _("Clear winner"),
        "close_call": _("Close call"),
        "coin_toss": _("Coin toss"),
        "only_one": _("Only one"),
    }.get(verdict, verdict)


def flipped(
    *,
    now_first: str,
    before_first: str,
    criterion: str,
    old_percent: float,
    new_percent: float,
    inside: str = "",
) -> str:
    """Why the first place changed; ``inside`` names the criterion above where a sub-criterion's weight was moved."""
    rose = new_percent > old_percent
    if inside and rose:
        text = _("{now} overtakes {before} because {criterion} counts {new} % of {inside} instead of {old} %.")
    elif inside:
        text = _("{now} overtakes {before} because {criterion} counts only {new} % of {inside} instead of {old} %.")
    elif rose:
        text = _("{now} overtakes {before} because {criterion} counts {new} % instead of {old} %.")
    else:
        text = _("{now} overtakes {before} because {criterion} counts only {new} % instead of {old} %.")
    return text.format(
        now=now_first,
        before=before_first,
        criterion=criterion,
        inside=inside,
        new=f"{new_percent:.0f}",
        old=f"{old_percent:.0f}",
    )


def method_name(method: str) -> str:
    return {"weighted_sum": _("the weighted sum"), "topsis": "TOPSIS", "promethee": "PROMETHEE II"}[method]


def methods_agree(first: Mapping[str, Sequence[str]], together: Sequence[str]) -> str:
    """How far the methods agree on who is first; ``together`` are those that do."""
    if not together:
        return ""

    def named(titles: Iterable[str]) -> str:
        return _(" and ").join(titles)

    shared = [title for title in first[together[0]] if all(title in first[method] for method in together)]
    if len(together) == len(first):
        return _("All three methods put {title} first.").format(title=named(shared))
    others = [
        _("{method} puts {title} first").format(method=method_name(method), title=named(titles))
        for method, titles in first.items()
        if method not in together
    ]
    if len(together) == 1:
        others.insert(0, _("{method} puts {title} first").format(method=method_name(together[0]), title=named(shared)))
        return _("The three methods disagree on the first: {others}.").format(others=", ".join(others))
    return _("Two of three methods agree on the first: {title}; {others}.").format(
        title=named(shared), others=", ".join(others)
    )
