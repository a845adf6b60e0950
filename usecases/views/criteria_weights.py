"""Weighing a level of the criteria: four methods, each a form with a preview that writes nothing."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.access import get_permitted
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.pages import FormPage, Page, sent_version
from usecases import elicitation, services
from usecases.choices import SetState, WeightMethod
from usecases.criteria_forms import WeightsForm, ratio_words, step_text
from usecases.domain.weights import RANDOM_INDEX
from usecases.models import CriteriaSet, Criterion
from usecases.views.criteria import crumbs, set_page

METHODS: dict[str, Any] = {
    WeightMethod.DIRECT: gettext_lazy("You know the percents. They sum to 100."),
    WeightMethod.SWING: gettext_lazy(
        "Imagine everything at its worst. Which one would you lift to its best first? It gets 100 points, the others fewer."
    ),
    WeightMethod.RANK_ORDER: gettext_lazy("You know only the order. Two that matter alike share a place."),
    WeightMethod.AHP: gettext_lazy(
        "Compare two at a time; the page finds the weights and says which answers disagree."
    ),
}

TABLES = {"saaty-1980": "Saaty 1980", "tummala-ling": "Tummala, Ling", "donegan-dodd": "Donegan, Dodd"}


class Level:
    """One level of one version and the method asked for, from the address."""

    def __init__(self, criteria_set: CriteriaSet, parent_key: str, method: str) -> None:
        self.criteria_set = criteria_set
        self.parent = criteria_set.criteria.filter(key=parent_key[:40], parent=None).first() if parent_key else None
        self.criteria: list[Criterion] = elicitation.level(criteria_set, self.parent)
        self.kept: dict[str, Any] = criteria_set.weighting.get(self.key, {})
        known = method if method in WeightMethod.values else self.kept.get("method", WeightMethod.SWING)
        self.method = str(known)

    @property
    def key(self) -> str:
        return self.parent.key if self.parent is not None else ""

    @property
    def title(self) -> str:
        if self.parent is None:
            return _("Weights of the top criteria")
        return _("Weights under {name}").format(name=self.parent)

    def form(self, data: Any = None) -> WeightsForm:
        return WeightsForm(data, criteria=self.criteria, method=self.method, kept=self.kept)

    def address(self, name: str, method: str | None = None) -> str:
        base = reverse(f"usecases:{name}", args=[self.criteria_set.pk])
        return f"{base}?parent={self.key}&method={method or self.method}"


def level_of(request: HttpRequest, pk: Any) -> Level:
    found = get_permitted(CriteriaSet.objects.all(), request.user, pk, "change")
    return Level(found, request.GET.get("parent", ""), request.GET.get("method", ""))


def preview_of(level: Level, form: WeightsForm) -> dict[str, Any]:
    """What the answers so far mean: bars, and of pairs whether they agree. Errors go to the form."""
    told: dict[str, Any] = {"method": level.method, "rows": [], "missing": 0, "consistency": None, "again": None}
    if not form.is_valid():
        told["missing"] = form.unanswered()
        return told
    try:
        found = elicitation.elicit(level.criteria, level.method, form.answers())
    except InvalidInput as error:
        form.refuse(error)
        told["offered"] = error.extra.get("offered")
        return told
    told["rows"] = [
        {"name": c.name, "share": found.weights[c.key], "bar": round(100 * found.weights[c.key], 2)}
        for c in level.criteria
    ]
    told["consistency"] = found.consistency
    if found.consistency and found.consistency["revisit"]:
        told["again"] = _again(level, found.consistency["revisit"])
    return told


def _again(level: Level, revisit: dict[str, Any]) -> dict[str, Any]:
    names = {c.key: c.name for c in level.criteria}
    first, second = names[revisit["first"]], names[revisit["second"]]
    place = [elicitation.pair_key(a, b) for a, b in elicitation.pairs(level.criteria)]
    at = place.index(f"{revisit['first']}:{revisit['second']}")
    return {
        "given": ratio_words(first, second, revisit["given"]),
        "step": ratio_words(first, second, revisit["step"]),
        "ratio_after": revisit["ratio_after"],
        "field": f"id_pair_{at}",
        "take": f"pair_{at}={step_text(revisit['step'])}",
    }


class CriteriaWeights(FormPage):
    form_class = WeightsForm
    template = "usecases/criteria_weights.html"
    submit_label = gettext_lazy("Use these weights")
    success = gettext_lazy("The weights are set.")

    def load(self, **kwargs: Any) -> Level:
        found = level_of(self.request, kwargs["pk"])
        if found.criteria_set.state != SetState.DRAFT:
            raise DomainError(
                "published",
                _("{name} never changes: edit it, and weigh its next version.").format(name=found.criteria_set),
            )
        return found

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> WeightsForm:
        level: Level = obj
        return level.form(data)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        level = self.load(**kwargs)
        data = request.POST.copy()
        name, _equals, value = data.get("take", "").partition("=")
        if name.startswith("pair_") and value:
            data[name] = value
            return self.show(level, level.form(data))
        if "preview" in data:
            form = level.form(data)
            told = preview_of(level, form)
            return self.show(level, form, _status(form), told=told)
        return super().post(request, **kwargs)

    def show(self, obj: Any, form: Any, status: int = 200, conflict: Any = None, told: Any = None) -> HttpResponse:
        level: Level = obj
        if told is None:
            again = level.form(form.data) if form.is_bound else level.form(_typed(form))
            told = preview_of(level, again)
        self.told = told
        return super().show(level, form, status, conflict)

    def more(self, obj: Any) -> dict[str, Any]:
        level: Level = obj
        return {
            "title": level.title,
            "object": None,
            "version": level.criteria_set.version,
            "breadcrumbs": crumbs(level.criteria_set, level.title),
            "level": level,
            "tabs": [
                {"label": label, "url": level.address("criteria-weights", value), "active": value == level.method}
                for value, label in WeightMethod.choices
            ],
            "about": METHODS[level.method],
            "preview_url": level.address("criteria-weights-preview"),
            "told": self.told,
            "random_index": _table(),
        }

    def cancel_url(self, obj: Any) -> str:
        level: Level = obj
        return set_page(level.criteria_set, f"c-{level.parent.pk}" if level.parent is not None else "weights")

    def conflict(self, obj: Any, form: Any, error: StaleWrite) -> list[dict[str, Any]]:
        level: Level = obj
        fresh = {c.key: c.weight for c in elicitation.level(level.criteria_set, level.parent)}
        total = sum(fresh.values()) or 1.0
        found = elicitation.elicit(level.criteria, level.method, form.answers()).weights
        return [
            {
                "label": c.name,
                "theirs": f"{100 * fresh.get(c.key, 0.0) / total:.3g} %",
                "yours": f"{100 * found[c.key]:.3g} %",
            }
            for c in level.criteria
        ]

    def save(self, obj: Any, form: Any) -> str:
        level: Level = obj
        answers = form.answers()
        if "normalise" in self.request.POST and level.method == WeightMethod.DIRECT:
            answers = self._normalised(level, answers)
        try:
            services.criteria_weights_set(
                actor=self.request.user,
                criteria_set=level.criteria_set,
                parent=level.parent,
                method=level.method,
                answers=answers,
                expected_version=sent_version(self.request),
            )
        except InvalidInput as error:
            raise InvalidInput(
                [row | {"field": _field(form, str(row["field"]))} for row in error.errors], error.message
            ) from error
        return self.cancel_url(level)

    @staticmethod
    def _normalised(level: Level, answers: dict[str, float]) -> dict[str, Any]:
        """The same proportions in whole percents, where that is all that was wrong."""
        try:
            elicitation.elicit(level.criteria, level.method, answers)
        except InvalidInput as error:
            return dict(error.extra.get("offered") or answers)
        return answers


def _field(form: WeightsForm, key: str) -> str:
    return next((name for name, known in form.names.items() if known == key), "")


def _typed(form: WeightsForm) -> dict[str, Any]:
    return {name: field.initial for name, field in form.fields.items() if field.initial is not None}


def _status(form: WeightsForm) -> int:
    return 422 if form.errors and not form.unanswered() else 200


def _table() -> list[dict[str, Any]]:
    return [{"name": TABLES.get(name, name), "values": list(table.values())} for name, table in RANDOM_INDEX.items()]


class CriteriaWeightsPreview(Page):
    """The part of the page that follows from what is typed; asked for with each change, writes nothing."""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        level = level_of(request, pk)
        form = level.form(request.POST)
        told = preview_of(level, form)
        context = {"told": told, "form": form, "level": level, "random_index": _table()}
        return render(request, "usecases/_weights_preview.html", context, status=_status(form))
