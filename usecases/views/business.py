"""The business case: what it is worth, when the money is back, how sure that is; its lines; two people on one case; on paper."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core import audit
from portal.core.access import get_permitted, may
from portal.core.clock import wall_now
from portal.core.errors import DomainError, StaleWrite
from portal.core.pages import Page, sent_version
from usecases import business_conflict as conflict
from usecases import business_figures as figures
from usecases import paper, services
from usecases.business_forms import BusinessCaseForm, LineFormSet
from usecases.models import BusinessCase, UseCase
from usecases.money import Rates
from usecases.proof import proofs
from usecases.services.business import LINE_FIELDS

CASES = UseCase.objects.select_related("business_case")


def crumbs(use_case: UseCase, *last: str) -> list[tuple[str, str]]:
    return [
        (_("Use cases"), reverse("usecases:use-cases")),
        (str(use_case), use_case.get_absolute_url()),
        (_("Business case"), reverse("usecases:business-case", args=[use_case.pk]) if last else ""),
        *((word, "") for word in last),
    ]


class _Shown:
    """The result in the currency asked for; in the case's own, with the reason, where no rate is known."""

    def __init__(self, case: BusinessCase | None, asked: str) -> None:
        self.case, self.currency, self.refused, self.rate = case, "", "", None
        self.result: dict[str, Any] = case.result if case is not None else {}
        self.choices: list[str] = []
        if case is None:
            return
        self.currency = case.currency
        rates = Rates(wall_now().date())
        self.choices = rates.currencies(case.currency)
        if asked and asked != case.currency and self.result:
            try:
                rate, self.result = services.business_case_in(case=case, currency=asked)
            except DomainError as error:
                self.refused = error.message
            else:
                self.rate, self.currency = rate, asked

    def context(self) -> dict[str, Any]:
        return {
            "result": self.result,
            "currency": self.currency,
            "currencies": self.choices,
            "rate": self.rate,
            "rate_refused": self.refused,
            "rate_reason": figures.rate_reason(self.result),
        }


class BusinessCasePage(Page):
    title = gettext_lazy("Business case")

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        use_case = get_permitted(CASES, request.user, pk)
        case = getattr(use_case, "business_case", None)
        shown = _Shown(case, request.GET.get("currency", "").strip().upper()[:3])
        result, currency = shown.result, shown.currency
        context: dict[str, Any] = {
            "subtitle": str(use_case),
            "breadcrumbs": crumbs(use_case),
            "use_case": use_case,
            "object": case,
            "lines": list(case.lines.all()) if case is not None else [],
            "proofs": proofs(use_case.outcomes.all()),
            "can_change": may(use_case, request.user, "change"),
            "history": audit.history(case) if case is not None else None,
            **shown.context(),
        }
        if result:
            context |= {
                "figure": figures.cash_figure(result, currency),
                "figure_title": figures.cash_title(result),
                "spread": figures.spread_figure(result, currency),
                "spread_title": figures.spread_title(result),
                "tornado": figures.tornado_figure(result, currency),
                "tornado_title": figures.tornado_title(result),
            }
            if result.get("irr") is None:
                context |= {
                    "curve": figures.curve_figure(result, currency),
                    "curve_title": figures.curve_title(result),
                }
        return self.render("usecases/business_case.html", context)


class BusinessCasePrint(Page):
    """A4, without scripts: figures, charts as drawings, lines, assumptions, provability, and how to get the same numbers again."""

    title = gettext_lazy("Business case")

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        use_case = get_permitted(CASES, request.user, pk)
        case = getattr(use_case, "business_case", None)
        if case is None:
            raise Http404
        shown = _Shown(case, request.GET.get("currency", "").strip().upper()[:3])
        result = shown.result
        context: dict[str, Any] = {
            "subtitle": str(use_case),
            "use_case": use_case,
            "object": case,
            "lines": list(case.lines.all()),
            "proofs": proofs(use_case.outcomes.all()),
            "printed_at": wall_now(),
            **shown.context(),
        }
        if result:
            marks = {"p10": _("bad"), "p50": _("expected"), "p90": _("good")}
            context |= {
                "cash": paper.cash(result),
                "cash_title": figures.cash_title(result),
                "spread": paper.spread(result, marks),
                "spread_title": figures.spread_title(result),
                "curve": paper.curve(result) if result.get("irr") is None else None,
                "curve_title": figures.curve_title(result),
                "quarters": [
                    dict(zip(("quarter", "capex", "opex", "benefit", "flow", "cumulative"), row, strict=True))
                    for row in zip(
                        range(len(result["flow"])),
                        *(result[name] for name in ("capex", "opex", "benefit", "flow", "cumulative")),
                        strict=True,
                    )
                ],
            }
        return self.render("usecases/business_case_print.html", context)


class BusinessCaseEdit(Page):
    """Case and lines in one form. A stale one comes back with both versions, field by field and line by line, everything typed and a
    choice for each difference (412)."""

    def load(self, pk: Any) -> tuple[UseCase, BusinessCase | None]:
        use_case = get_permitted(CASES, self.request.user, pk, "change")
        return use_case, getattr(use_case, "business_case", None)

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        use_case, case = self.load(pk)
        start = wall_now().date().replace(day=1)
        form = BusinessCaseForm(instance=case, initial={} if case else {"start": start})
        formset = LineFormSet(initial=services.lines_as_data(case) if case else [], prefix="lines")
        return self.show(use_case, case, form, formset)

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        use_case, case = self.load(pk)
        # A copy: what is typed must not reach the case it is compared with.
        copy = BusinessCase(use_case=use_case, **({"pk": case.pk, "seed": case.seed} if case is not None else {}))
        form = BusinessCaseForm(request.POST, instance=copy)
        formset = LineFormSet(request.POST, prefix="lines")
        if not (form.is_valid() and formset.is_valid()):
            return self.show(use_case, case, form, formset, 422)
        kept = [f for f in formset.forms if f.cleaned_data.get("name") and not f.cleaned_data.get("DELETE")]
        typed = [{name: f.cleaned_data[name] for name in LINE_FIELDS} for f in kept]
        fields, lines = dict(form.cleaned_data), typed
        if case is not None and "resolve" in request.POST:
            fields = conflict.merged_fields(request.POST, fields, case)
            lines = conflict.merged_lines(request.POST, typed, services.lines_as_data(case))
        version = sent_version(request)
        try:
            if case is None:
                services.business_case_create(actor=request.user, use_case=use_case, lines=lines, **fields)
            else:
                if version is None:
                    raise StaleWrite
                fresh = BusinessCase.objects.get(pk=case.pk)
                services.business_case_update(
                    actor=request.user, case=fresh, data=fields, lines=lines, expected_version=version
                )
        except StaleWrite:
            return self.show(use_case, case, form, formset, 412, compared=(dict(form.cleaned_data), typed))
        except DomainError as error:
            if lines is not typed:
                # What was chosen is what is shown: the complaint may be about a line that nobody typed here.
                form, formset = BusinessCaseForm(initial=fields), LineFormSet(initial=lines, prefix="lines")
                messages.error(request, str(error))
                return self.show(use_case, case, form, formset, int(error.status))
            self.mark(form, formset, kept, error)
            return self.show(use_case, case, form, formset, int(error.status))
        messages.success(request, _("Saved and computed."))
        return HttpResponseRedirect(reverse("usecases:business-case", args=[use_case.pk]))

    def conflict(
        self, saved: BusinessCase, form: Any, fields: dict[str, Any], lines: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Both versions, field by field and line by line, with who changed what and the choice of each."""
        base = conflict.Version.loaded(self.request.POST.get("base", ""))
        labels = {name: str(field.label) for name, field in form.fields.items()}
        rows = conflict.differences(base, conflict.Version.of(fields, lines), conflict.Version.of_case(saved), labels)
        last = audit.history(saved, limit=1)
        return {"rows": rows, "by": last[0].actor_label if last else "", "at": saved.updated_at}

    def mark(self, form: Any, formset: Any, kept: list[Any], error: DomainError) -> None:
        """Each complaint beside the field or line it is about."""
        for row in error.errors or [{"field": "", "message": error.message}]:
            name = str(row.get("field", ""))
            if name.startswith("lines[") and "]." in name:
                at, _dot, field = name.removeprefix("lines[").partition("].")
                target = kept[int(at)]
                target.add_error(field if field in target.fields else None, row["message"])
            else:
                form.add_error(name if name in form.fields else None, row["message"])

    def show(
        self,
        use_case: UseCase,
        case: BusinessCase | None,
        form: Any,
        formset: Any,
        status: int = 200,
        compared: tuple[dict[str, Any], list[dict[str, Any]]] | None = None,
    ) -> HttpResponse:
        saved = BusinessCase.objects.filter(use_case=use_case).prefetch_related("lines").first()
        asked, base = self.request.POST.get("version"), self.request.POST.get("base")
        met = self.conflict(saved, form, *compared) if saved is not None and compared is not None else None
        fresh = saved.version if saved is not None else None
        return self.render(
            "usecases/business_case_form.html",
            {
                "title": _("Change the business case") if case else _("New business case"),
                "breadcrumbs": crumbs(use_case, _("Change")),
                "form": form,
                "formset": formset,
                # After a conflict the form carries the version it was compared with, so that saving again is a choice.
                "version": fresh if met is not None else (asked or fresh),
                "base": base if base and met is None else (conflict.Version.of_case(saved).dumped() if saved else ""),
                "conflict": met,
                "resolving": met is not None or "resolve" in self.request.POST,
                "cancel_url": reverse("usecases:business-case", args=[use_case.pk]),
                "submit_label": _("Save what was chosen") if met is not None else _("Save and compute"),
            },
            status,
        )
