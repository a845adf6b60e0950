"""How the writes on the scoring model come to success: its versions, criteria, weights."""

from __future__ import annotations

from typing import Any

from tests.deed import Deed
from tests.drive import Stage

RUBRIC = [f"Level {n}" for n in range(6)]


def _criterion(stage: Stage) -> Any:
    return stage.ours.one("usecases.Criterion")


def _complete(stage: Stage) -> None:
    """A draft that can be published: one top criterion with its rubric."""
    row = _criterion(stage)
    type(row).objects.filter(pk=row.pk).update(rubric=RUBRIC, parent=None, source="judged")


def _two(stage: Stage) -> None:
    """Two top criteria, so that there is an order to change and something to weigh."""
    from usecases.models import Criterion

    _complete(stage)
    row = _criterion(stage)
    Criterion.objects.create(
        criteria_set=row.criteria_set, key="second", name="Second", weight=1, rubric=RUBRIC, position=row.position + 1
    )


def _form(stage: Stage) -> dict[str, Any]:
    return {
        "parent": "",
        "key": "further",
        "name": "Further",
        "description": "What it asks.",
        "source": "judged",
        "fact": "",
        "anchor_low": "0",
        "anchor_high": "5",
        **{f"rubric_{n}": text for n, text in enumerate(RUBRIC)},
    }


def _first_top(stage: Stage) -> Any:
    """The first of the two: it can move down."""
    _two(stage)
    return _criterion(stage)


def _another_draft(stage: Stage) -> Any:
    return stage.ours.another("usecases.CriteriaSet")


CRITERIA: dict[str, Deed] = {
    "criteria-set create": Deed(body=lambda stage: {"name": "Further criteria"}),
    "criteria-set publish": Deed(_complete, lambda stage: {}),
    "criteria-set weights": Deed(
        _two,
        lambda stage: {"parent": "", "method": "swing", "answers": {_criterion(stage).key: 100, "second": 50}},
    ),
    "criteria-set destroy": Deed(_another_draft),
    "criterion move": Deed(_first_top, lambda stage: {"by": 1}),
    "usecases:criteria-set-create": Deed(body=lambda stage: {"name": "Further criteria", "standard": "yes"}),
    "usecases:criteria-set-publish": Deed(_complete),
    "usecases:criteria-set-discard": Deed(_another_draft),
    "usecases:criteria-weights": Deed(_two, lambda stage: {"answer_0": "100", "answer_1": "50"}),
    "usecases:criteria-weights-preview": Deed(_two, lambda stage: {"answer_0": "100", "answer_1": "50"}),
    "usecases:criterion-create": Deed(body=_form),
    "usecases:criterion-edit": Deed(body=_form),
    "usecases:criterion-delete": Deed(lambda stage: stage.ours.another("usecases.Criterion")),
    "usecases:criterion-move": Deed(_first_top, lambda stage: {"by": "1"}),
}
