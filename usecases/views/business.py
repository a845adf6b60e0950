"""The business case: what it is worth, when the money is back, how sure that is; and its lines."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core import audit
from portal.core.access import get_permitted, may
from portal.core.clock import wall_now
from portal.core.errors import DomainError, StaleWrite
from portal.core.pages import Page
from portal.core.plots import figure, line
from usecases import services
from usecases.business_forms import BusinessCaseForm, LineFormSet
from usecases.models import BusinessCase, BusinessLine, UseCase
from usecases.services.business import LINE_FIELDS

CASES = UseCase.objects.select_related("business_case")


def crumbs(use_case: UseCase, last: str) -> list[tuple[str, str]]:
    return [
        (_("Use cases"), reverse("usecases:use-cases")),
        (str(use_case), use_case.get_absolute_url()),
        (last, ""),
    ]


def cash_figure(result: dict[str, Any], currency: str) -> dict[str, Any]:
    """Cumulative cash flow per quarter: likely case, with the band of bad to good case."""
    quarters = list(range(len(result["cumulative"])))
    return figure(
        [
            line(quarters, result["band_high"], _("good case (P90)"), role="band", showlegend=False),
            line(
                quarters,
                result["band_low"],
                _("bad to good case (P10 to P90)"),
                role="band",
                fill="tonexty",
            ),
            line(quarters, result["cumulative"], _("likely case")),
        ],
        x_title=_("quarter after the decision"),
        y_title=currency,
        height=340,
        shapes=[{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0, "line": {"width": 1}}],
    )


def tornado_figure(result: dict[str, Any], currency: str) -> dict[str, Any]:
    """NPV with one line's amount at its low and at its high, the widest on top."""
    rows = list(reversed(result["tornado"]))
    base = result["npv"]
    return figure(
        [
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": [r["line"] for r in rows],
                "x": [round(r[side] - base, 2) for r in rows],
                "base": base,
            }
            for side, name in (("low", _("at its low amount")), ("high", _("at its high amount")))
        ],
        x_title=f"NPV ({currency})",
        height=120 + 36 * len(rows),
        barmode="overlay",
        hovermode="closest",
        margin={"l": 150, "r": 16, "t": 12, "b": 44},
    )


def finding(result: dict[str, Any], currency: str) -> str:
    """The title of the chart says what it shows."""
    if result.get("payback") is None:
        return _("The money is not back within {n} quarters in the likely case").format(n=len(result["flow"]) - 1)
    return _("The money is back after {n} quarters in the likely case").format(n=f"{result['payback']:.1f}")


class BusinessCasePage(Page):
    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        use_case = get_permitted(CASES, request.user, pk)
        case = getattr(use_case, "business_case", None)
        result = case.result if case is not None else {}
        context: dict[str, Any] = {
            "title": _("Business case"),
            "subtitle": str(use_case),
            "breadcrumbs": crumbs(use_case, _("Business case")),
            "use_case": use_case,
            "object": case,
            "result": result,
            "lines": list(case.lines.all()) if case is not None else [],
            "can_change": may(use_case, request.user, "change"),
            "history": audit.history(case) if case is not None else None,
            "printed_at": wall_now(),
        }
        if result and case is not None:
            context |= {
                "figure": cash_figure(result, case.currency),
                "figure_title": finding(result, case.currency),
                "tornado": tornado_figure(result, case.currency),
                "tornado_title": _("Find out more about {line} first").format(line=result["tornado"][0]["line"])
                if result["tornado"]
                else "",
            }
        return self.render("usecases/business_case.html", context)


class BusinessCaseEdit(Page):
    """Case and lines in one form; a stale one comes back with both versions and everything typed (412)."""

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
        form = BusinessCaseForm(request.POST, instance=case or BusinessCase(use_case=use_case))
        formset = LineFormSet(request.POST, prefix="lines")
        if not (form.is_valid() and formset.is_valid()):
            return self.show(use_case, case, form, formset, 422)
        kept = [f for f in formset.forms if f.cleaned_data.get("name") and not f.cleaned_data.get("DELETE")]
        lines = [{name: f.cleaned_data[name] for name in LINE_FIELDS} for f in kept]
        raw = request.POST.get("version", "")
        version = int(raw) if raw.isdigit() else None
        try:
            if case is None:
                services.business_case_create(actor=request.user, use_case=use_case, lines=lines, **form.cleaned_data)
            else:
                if version is None:
                    raise StaleWrite
                fresh = BusinessCase.objects.get(pk=case.pk)
                services.business_case_update(
                    actor=request.user,
                    case=fresh,
                    data=dict(form.cleaned_data),
                    lines=lines,
                    expected_version=version,
                )
        except StaleWrite:
            saved = BusinessCase.objects.get(pk=case.pk) if case else None
            return self.show(use_case, case, form, formset, 412, conflict=self.conflict(saved, form, lines))
        except DomainError as error:
            self.mark(form, formset, kept, error)
            return self.show(use_case, case, form, formset, int(error.status))
        messages.success(request, _("Saved and computed."))
        return HttpResponseRedirect(reverse("usecases:business-case", args=[use_case.pk]))

    def conflict(self, saved: BusinessCase | None, form: Any, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Both versions, field by field and line by line."""
        if saved is None:
            raise Http404
        rows = [
            {"label": str(field.label), "yours": form.cleaned_data.get(name), "theirs": getattr(saved, name)}
            for name, field in form.fields.items()
            if getattr(saved, name) != form.cleaned_data.get(name)
        ]
        theirs = [self.words(BusinessLine(**row)) for row in services.lines_as_data(saved)]
        yours = [self.words(BusinessLine(**row)) for row in lines]
        for at in range(max(len(theirs), len(yours))):
            left = theirs[at] if at < len(theirs) else "–"
            right = yours[at] if at < len(yours) else "–"
            if left != right:
                rows.append({"label": _("Line {n}").format(n=at + 1), "theirs": left, "yours": right})
        return rows

    def words(self, row: BusinessLine) -> str:
        return (
            f"{row.get_kind_display()} {row.name}: {row.low:.0f} / {row.likely:.0f} / {row.high:.0f}, "
            f"Q{row.first_quarter} to Q{row.last_quarter}, ramp {row.ramp_quarters:g}, share {row.attribution:g}"
        )

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
        self, use_case: UseCase, case: Any, form: Any, formset: Any, status: int = 200, conflict: Any = None
    ) -> HttpResponse:
        fresh = BusinessCase.objects.filter(use_case=use_case).values_list("version", flat=True).first()
        asked = self.request.POST.get("version")
        return self.render(
            "usecases/business_case_form.html",
            {
                "title": _("Change the business case") if case else _("New business case"),
                "breadcrumbs": crumbs(use_case, _("Business case")),
                "form": form,
                "formset": formset,
                # After a conflict the form carries the version it was compared with, so that saving again is a choice.
                "version": fresh if conflict is not None else (asked or fresh),
                "conflict": conflict,
                "cancel_url": reverse("usecases:business-case", args=[use_case.pk]),
                "submit_label": _("Save and compute"),
            },
            status,
        )
