"""Lists in and out: a check first that says what would be written and what stands in its way, then the writing; templates and exports
in the same columns."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core import exports
from portal.core.access import get_permitted
from portal.core.errors import DomainError
from portal.core.pages import FormPage
from portal.core.tabular import WINDOWS, read_upload
from usecases import imports
from usecases.imports_forms import ImportForm
from usecases.models import Outcome

#: Where one looks at what was brought in.
_AFTER = {"use_cases": "usecases:use-cases", "effort_needs": "usecases:portfolio"}


class ImportPage(FormPage):
    title = gettext_lazy("Bring in a list")
    form_class = ImportForm
    template = "usecases/import.html"
    report: imports.Report | None = None

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return [(_("Use cases"), reverse("usecases:use-cases")), (str(self.title), "")]

    def load(self, **kwargs: Any) -> None:
        imports.require_somewhere(self.request.user)

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        self.load(**kwargs)
        for wanted, rows_of in (("template", self.example), ("export", self.existing)):
            form = request.GET.get(wanted)
            if form in {"csv", "xlsx"}:
                name, header, rows = rows_of(self.kind())
                send: Any = exports.csv_response if form == "csv" else exports.xlsx_response
                return send(name, header, rows)
        return self.show(None, self.get_form(None))

    def kind(self) -> str:
        asked = self.request.GET.get("kind", "")
        return asked if asked in imports.readers() else next(iter(imports.readers()))

    def example(self, kind: str) -> tuple[str, list[str], Any]:
        header, rows = imports.template_rows(kind)
        return f"{kind.replace('_', '-')}-template", header, rows

    def existing(self, kind: str) -> tuple[str, list[str], Any]:
        reader = imports.reader_of(kind)
        only: dict[str, Any] = {}
        if asked := self.request.GET.get("outcome"):
            only["outcome"] = get_permitted(Outcome.objects.all(), self.request.user, asked)
        return kind.replace("_", "-"), reader.names(), reader(self.request.user).export(**only)

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        return ImportForm(data=data, files=files, initial={"kind": self.kind()})

    def cancel_url(self, obj: Any) -> str:
        return reverse("usecases:use-cases")

    def more(self, obj: Any) -> dict[str, Any]:
        report = self.report
        kinds = [
            {
                "key": key,
                "label": reader.label,
                "about": reader.about,
                "columns": reader.columns,
                "open": key == (report.kind if report else self.kind()),
            }
            for key, reader in imports.readers().items()
        ]
        return {
            "kinds": kinds,
            "report": report,
            "problems": report.problems[: imports.MAX_SHOWN] if report else [],
            "shown": [step for step in report.steps if step.state != imports.SAME][:20] if report else [],
            "writable": report.new + report.changed if report else 0,
        }

    def post(self, request: Any, **kwargs: Any) -> HttpResponse:
        self.load(**kwargs)
        form = self.get_form(None, request.POST, request.FILES)
        if not form.is_valid():
            return self.show(None, form, 422)
        data = form.cleaned_data
        upload, kind = data["file"], data["kind"]
        try:
            table = read_upload(upload, WINDOWS) if upload is not None else imports.table_of_text(data["text"])
            self.report = imports.import_plan(actor=request.user, kind=kind, table=table)
            asked = request.POST.get("write")
            partial = asked == "good"
            if asked is not None and (partial or not self.report.problems) and self.report.new + self.report.changed:
                done = imports.import_run(actor=request.user, kind=kind, table=table, partial=partial)
                messages.success(
                    request,
                    _("{new} new, {changed} changed, {same} as they were, {bad} left out.").format(
                        new=done.new, changed=done.changed, same=done.same, bad=done.refused_rows
                    ),
                )
                return HttpResponseRedirect(reverse(_AFTER.get(kind, "usecases:use-cases")))
        except DomainError as error:
            if error.code == "rows_refused" and self.report is not None:
                self.report.problems = [
                    imports.Problem(row["row"], row["field"], row["message"]) for row in error.extra["refused"]
                ]
            else:
                form.add_error("file" if upload is not None else "text", _said(error))
                self.report = None
            return self.show(None, form, int(error.status))
        # What was read goes on in the form as text, so that the next click needs no second upload.
        again = ImportForm(initial={"kind": kind, "text": table.as_csv()})
        return self.show(None, again, 422 if self.report.problems else 200)


def _said(error: DomainError) -> str:
    return " ".join(str(row["message"]) for row in error.errors) or error.message
