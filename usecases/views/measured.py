"""What is measured of a use case: number, age, link, and why there is none."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.access import get_permitted
from portal.core.clock import wall_now
from portal.core.pages import Page
from usecases import facts
from usecases.measured import MeasuredScore, measured_scores
from usecases.models import Criterion, UseCase
from usecases.selectors_criteria import measured_leaves


def rows_of(use_case: UseCase, leaves: list[Criterion]) -> list[dict[str, Any]]:
    found = measured_scores([use_case], leaves, wall_now())
    return [_row(leaf, found[use_case.pk, leaf.key]) for leaf in leaves]


def _row(leaf: Criterion, score: MeasuredScore) -> dict[str, Any]:
    known = facts.get(leaf.fact)
    return {
        "leaf": leaf,
        "score": score,
        "bar": None if score.rating is None else round(20 * score.rating, 1),
        "question": known.question if known is not None else leaf.description,
        "percent": score.unit == "%",
    }


class UseCaseMeasured(Page):
    """A part of the use case's page, fetched after it; a page of its own without scripts."""

    title = gettext_lazy("Measured scores")

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        use_case = get_permitted(UseCase.objects.all(), self.request.user, pk)
        leaves = measured_leaves()
        context = {
            "object": use_case,
            "rows": rows_of(use_case, leaves),
            "criteria_set": leaves[0].criteria_set if leaves else None,
            "breadcrumbs": [
                (_("Use cases"), reverse("usecases:use-cases")),
                (str(use_case), use_case.get_absolute_url()),
                (str(self.title), ""),
            ],
        }
        return self.render("usecases/_measured.html" if self.partial else "usecases/measured.html", context)
