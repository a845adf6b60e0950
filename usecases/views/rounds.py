"""The scoring workshop: rate on a phone, watch the others come in, move the weights."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core import audit
from portal.core.access import get_permitted, require, require_global
from portal.core.errors import DomainError, InvalidInput
from portal.core.pages import FormPage, ListPage, Page
from usecases import ranking, services, wording
from usecases.choices import RoundState
from usecases.filters import ScoringRoundFilter
from usecases.forms import RoundForm
from usecases.models import Criterion, Rating, ScoringRound
from usecases.tables import RoundTable
from usecases.views.common import etag_of, polled

ROUNDS = ScoringRound.objects.select_related("criteria_set", "facilitator")


class RoundsPage(ListPage):
    title = "Scoring"
    model = ScoringRound
    table_class = RoundTable
    filterset_class = ScoringRoundFilter
    create_url_name = "usecases:round-create"
    create_label = "Open a round"
    create_permission = "usecases.add_usecase"
    empty = "No scoring round yet. Invite a plant manager, an OT engineer and a data scientist to rate your use cases."

    def get_queryset(self) -> Any:
        return ROUNDS


class RoundCreate(FormPage):
    title = "Open a scoring round"
    form_class = RoundForm
    submit_label = "Open the round"

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
            raters=list(data["raters"]),
        ).get_absolute_url()


def ranked_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the ranking component; the sliders replace them by key."""
    rows = []
    for row in result.get("rows", []):
        note = _("first in {n} of 100 plausible weightings").format(n=_in_100(row["first"]))
        if row["known"] < 0.9995:
            note += "; " + _("{n} % of the weight is rated").format(n=round(100 * row["known"]))
        rows.append(
            {
                "key": row["id"],
                "rank": row["rank"],
                "label": row["title"],
                "url": reverse("usecases:use-case", args=[row["id"]]),
                "score": f"{100 * row['score']:.0f}",
                "bar": round(100 * row["score"], 1),
                "bar_label": _("{title}: score {n} of 100").format(title=row["title"], n=round(100 * row["score"])),
                "note": note,
            }
        )
    return rows


def _in_100(share: float) -> int:
    return int(share >= 1) * 100 if share <= 0 or share >= 1 else min(99, max(1, round(100 * share)))


def spoken(result: dict[str, Any]) -> str:
    """The sentence above the ranking; it begins with why the order flipped."""
    return " ".join(part for part in (result.get("flip", ""), result.get("sentence", "")) if part)


class RoundPage(Page):
    """Rate one use case at a time; below, how far everybody is, and the ranking with its sliders."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        return self.show(get_permitted(ROUNDS, request.user, pk))

    def show(self, meeting: ScoringRound, *, status: int = 200, typed: Any = None, errors: Any = ()) -> HttpResponse:
        user = self.request.user
        loaded = ranking.load(meeting)
        is_open = meeting.state == RoundState.OPEN
        result = ranking.rank(loaded) if is_open or not meeting.result else meeting.result
        progress = ranking.progress(meeting, loaded)
        mine = any(row["id"] == str(user.pk) for row in progress)
        chosen = self.request.POST.get("use_case") or self.request.GET.get("case")
        case = next((c for c in loaded.cases if str(c.pk) == chosen), loaded.cases[0] if loaded.cases else None)
        own = [r for r in loaded.ratings if r.rater_id == user.pk] if mine else []
        answered = {c.pk: sum(1 for r in own if r.use_case_id == c.pk) for c in loaded.cases}
        judged = [c for c in loaded.model.leaves if case is None or (case.pk, c.key) not in loaded.derived]
        return self.render(
            "usecases/round.html",
            {
                "title": meeting.title,
                "breadcrumbs": [(_("Scoring"), reverse("usecases:rounds")), (meeting.title, "")],
                "object": meeting,
                "is_open": is_open,
                "mine": mine and is_open,
                "case": case,
                "case_tabs": [
                    {
                        "label": c.title,
                        "url": f"?case={c.pk}#rate",
                        "active": case is not None and c.pk == case.pk,
                        "count": f"{answered[c.pk]}/{len(loaded.model.leaves)}",
                    }
                    for c in loaded.cases
                ],
                "questions": [self.question(c, case, own, typed) for c in judged] if case is not None else [],
                "derived": [
                    (leaf.name, loaded.derived[(case.pk, leaf.key)])
                    for leaf in loaded.model.leaves
                    if case is not None and (case.pk, leaf.key) in loaded.derived
                ],
                "errors": errors,
                "progress": progress,
                "etag": etag_of(progress_state(meeting, progress)),
                "can_close": is_open and self.may_close(meeting),
                "result": result,
                "verdict_text": spoken(result),
                "verdict_label": wording.verdict_label(result["verdict"]),
                "verdict_tone": wording.VERDICTS.get(result["verdict"], "unknown"),
                "ranking": ranked_rows(result),
                "sliders": [
                    {
                        "name": c.key,
                        "label": c.name,
                        "value": round(100 * float(w)),
                        "text": f"{100 * float(w):.0f} %",
                    }
                    for c, w in zip(loaded.model.tops, loaded.model.tree.top_weights, strict=True)
                ],
                "disagreements": [row for row in ranking.agreement(loaded) if row["disagrees"]],
                "kappa": ranking.robustness.KAPPA,
                "draws": ranking.robustness.DRAWS,
                "history": audit.history(meeting),
            },
            status,
        )

    def may_close(self, meeting: ScoringRound) -> bool:
        return services.may_lead(meeting, self.request.user)

    def question(self, leaf: Criterion, case: Any, own: list[Rating], typed: Any) -> dict[str, Any]:
        given = next((r for r in own if r.use_case_id == case.pk and r.criterion_id == leaf.pk), None)
        name = f"value-{leaf.pk}"
        if typed is not None:
            value, comment = typed.get(name, ""), typed.get(f"comment-{leaf.pk}", "")
        else:
            value = "" if given is None else ("none" if given.value is None else f"{given.value:g}")
            comment = given.comment if given else ""
        rubric = list(leaf.rubric) + [""] * (6 - len(leaf.rubric))
        return {
            "name": name,
            "criterion": leaf,
            "value": value,
            "comment": comment,
            "levels": [
                {"value": str(n), "text": text, "checked": value == str(n)} for n, text in enumerate(rubric[:6])
            ],
            "dont_know": value == "none",
        }


def progress_state(meeting: ScoringRound, progress: list[dict[str, Any]]) -> Any:
    return [meeting.state, [[p["id"], p["given"], p["asked"]] for p in progress]]


class RoundProgress(Page):
    """The polled part: who has answered how much."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk)
        progress = ranking.progress(meeting)
        return polled(
            request,
            "usecases/_progress.html",
            {"progress": progress, "object": meeting, "is_open": meeting.state == RoundState.OPEN},
            progress_state(meeting, progress),
        )


class RoundRate(RoundPage):
    """Write the ratings of one use case; a refusal keeps what was typed."""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk, "rate")
        leaves = ranking.model_of(meeting.criteria_set).leaves
        cases = list(meeting.use_cases.order_by("title", "pk"))
        case = next((c for c in cases if str(c.pk) == request.POST.get("use_case")), None)
        if case is None:
            raise InvalidInput({"use_case": _("This use case is not in the round.")})
        rows, wrong = [], []
        for leaf in leaves:
            raw = request.POST.get(f"value-{leaf.pk}", "")
            if raw == "":
                continue
            value = None if raw == "none" else _number(raw)
            if value is None and raw != "none":
                wrong.append({"field": leaf.name, "message": _("Choose a level from 0 to 5.")})
            comment = request.POST.get(f"comment-{leaf.pk}", "").strip()
            rows.append({"use_case": case, "criterion": leaf, "value": value, "comment": comment})
        if not rows and not wrong:
            wrong.append({"field": "", "message": _("Choose a level for at least one question.")})
        if not wrong:
            try:
                services.ratings_put(actor=request.user, meeting=meeting, rows=rows)
            except DomainError as error:
                wrong = error.errors or [{"field": "", "message": error.message}]
        if wrong:
            return self.show(meeting, status=422, typed=request.POST, errors=wrong)
        messages.success(request, _("Saved {n} answers on {case}.").format(n=len(rows), case=case))
        after = cases[(cases.index(case) + 1) % len(cases)]
        return HttpResponseRedirect(f"{meeting.get_absolute_url()}?case={after.pk}#rate")


def _number(raw: str) -> float | None:
    try:
        return float(raw)
    except ValueError:
        return None


class RoundWhatIf(RoundPage):
    """Weights from the sliders in, the ranking out: JSON for the sliders, the page without scripts. Writes nothing."""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk)
        loaded = ranking.load(meeting)
        weights, wrong = {}, {}
        for top in loaded.model.tops:
            value = _number(request.POST.get(top.key, ""))
            if value is None:
                wrong[top.key] = _("A weight for each criterion is needed.")
            else:
                weights[top.key] = value
        try:
            if wrong:
                raise InvalidInput(wrong)
            result = ranking.rank(loaded, weights)
        except DomainError as error:
            return JsonResponse({"code": error.code, "detail": error.message, "errors": error.errors}, status=400)
        if "text/html" in request.headers.get("Accept", "") and not self.partial:
            return self.render(
                "usecases/what_if.html",
                {
                    "title": meeting.title,
                    "object": meeting,
                    "verdict_text": spoken(result),
                    "ranking": ranked_rows(result),
                    "weights": result["weights"],
                },
            )
        return JsonResponse(
            {
                "verdict": spoken(result),
                "rows": ranked_rows(result),
                "label": wording.verdict_label(result["verdict"]),
            }
        )


class RoundClose(Page):
    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        meeting = get_permitted(ROUNDS, request.user, pk)
        services.require_lead(meeting, request.user, "close")
        try:
            services.round_close(actor=request.user, meeting=meeting)
        except DomainError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(meeting.get_absolute_url())
        messages.success(request, _("Closed. The result is frozen."))
        return HttpResponseRedirect(meeting.get_absolute_url())
