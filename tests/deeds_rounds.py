"""How the writes of scoring rounds come to success: votes, comparisons, seats, the steps of a round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps

from tests.deed import Deed
from tests.drive import Stage

_ROUND = "usecases.ScoringRound"


def _in(state: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        _change(stage, state=state)

    return prepare


def _change(stage: Stage, **values: Any) -> None:
    apps.get_model(_ROUND).objects.filter(pk=stage.ours.one(_ROUND).pk).update(**values)


def _unanswered(stage: Stage) -> Any:
    return stage.ours.another(_ROUND)


def _top_and_revealed(stage: Stage) -> None:
    apps.get_model("usecases.Criterion").objects.filter(pk=_leaf(stage).pk).update(parent=None)
    _change(stage, state="revealed")


def _leaf(stage: Stage) -> Any:
    return stage.ours.one("usecases.Criterion")


def _pairwise(stage: Stage) -> None:
    stage.ours.another("usecases.Criterion", criteria_set=_leaf(stage).criteria_set, position=9)
    _change(stage, weighting="pairwise")


def _pair(stage: Stage) -> list[Any]:
    rows = apps.get_model("usecases.Criterion").objects.filter(criteria_set=_leaf(stage).criteria_set, parent=None)
    return list(rows.order_by("position", "id"))


def _judgement(stage: Stage) -> dict[str, Any]:
    first, second, *_more = _pair(stage)
    return {"judgements": [{"first": str(first.pk), "second": str(second.pk), "value": 3}]}


def _judgement_form(stage: Stage) -> dict[str, str]:
    first, second, *_more = _pair(stage)
    return {f"pair-{first.pk}-{second.pk}": "3", "vote": "1"}


def _steward(stage: Stage) -> dict[str, str]:
    return {"person": str(stage.cast.data_steward.pk), "role": "data_steward"}


def _seated(stage: Stage) -> dict[str, str]:
    return {"person": str(stage.ours.one("usecases.Seat").person_id)}


def _opened(stage: Stage) -> dict[str, Any]:
    return {
        "title": "Spring round",
        "criteria_set": str(stage.ours.one("usecases.CriteriaSet").pk),
        "use_cases": [str(stage.cast.ours.pk)],
        "seats": [f"plant_manager:{stage.cast.plant_manager.pk}"],
        "weighting": "criteria",
    }


def _published(stage: Stage) -> None:
    row = stage.ours.one("usecases.CriteriaSet")
    type(row).objects.filter(pk=row.pk).update(state="published")


def _renamed(stage: Stage) -> dict[str, str]:
    return {"title": "Another title"}


def _weights(stage: Stage) -> dict[str, Any]:
    return {"weights": {_leaf(stage).key: 50.0}}


ROUNDS: dict[str, Deed] = {
    "usecases:round-create": Deed(_published, _opened),
    "usecases:round-edit": Deed(body=_renamed),
    "scoring-round destroy": Deed(_unanswered),
    "usecases:round-withdraw": Deed(_unanswered),
    "scoring-round seats": Deed(body=_steward),
    "usecases:round-seats": Deed(body=lambda stage: {"seat": f"data_steward:{stage.cast.data_steward.pk}"}),
    "scoring-round unseat": Deed(body=_seated),
    "usecases:round-unseat": Deed(body=_seated),
    "scoring-round judgements": Deed(_pairwise, _judgement),
    "usecases:round-compare": Deed(_pairwise, _judgement_form),
    "scoring-round keep": Deed(_in("second")),
    "usecases:round-keep": Deed(_in("second")),
    "scoring-round second_vote": Deed(_in("revealed")),
    "usecases:round-second-vote": Deed(_in("revealed")),
    "scoring-round what_if": Deed(_top_and_revealed, _weights),
    "usecases:round-what-if": Deed(_top_and_revealed, lambda stage: {_leaf(stage).key: "50"}),
}
