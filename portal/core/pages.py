"""Base views of the pages. Each decides once whether to send the page or the partial, and reads only permitted rows."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy
from django.views.generic import View
from django_tables2 import RequestConfig

from portal.core import audit, exports, panels
from portal.core.access import get_permitted, may, offered, require, require_global, with_may
from portal.core.errors import DomainError, StaleWrite
from portal.core.records import entity_create, entity_delete, entity_update
from portal.core.submits import take_once

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

    from portal.core.models import User

    class SignedIn(HttpRequest):
        """The request of a page: ``LoginRequiredMixin`` lets nobody else through."""

        user: User


MAX_EXPORT = 100_000


def whole_number(text: str, digits: int = 9) -> int | None:
    """What somebody sent as a number of so many digits at most; None for anything else (``isdigit`` alone takes "²" too)."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


def sent_version(request: HttpRequest) -> int | None:
    """The version that a form was made of; None where the form says nothing. What is no version matches none: the form is stale."""
    raw = request.POST.get("version", "")
    found = whole_number(raw)
    return -1 if raw and found is None else found


def _say_all(form: forms.Form) -> None:
    """A yes-or-no filter that is not set shows everything: Django calls that "Unknown"."""
    for field in form.fields.values():
        if isinstance(field, forms.NullBooleanField) and isinstance(field.widget, forms.Select):
            (unset, _unknown), *answers = field.widget.choices
            field.widget.choices = [(unset, gettext("All")), *answers]


class Page(LoginRequiredMixin, View):
    """Signed-in page. ``partial`` is true for an htmx request that is neither boosted nor a history restore."""

    request: SignedIn
    title: ClassVar[StrOrPromise] = ""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        # Named in full: this runs inside a closure.
        return take_once(request, lambda: super(Page, self).dispatch(request, *args, **kwargs))

    @property
    def partial(self) -> bool:
        htmx: Any = getattr(self.request, "htmx", None)
        return bool(htmx) and not htmx.boosted and not htmx.history_restore_request

    @property
    def site_id(self) -> str | None:
        """The site chosen in the top bar; everything filters by it."""
        return self.request.session.get("site_id")

    def render(self, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
        return render(
            self.request, template, {"title": self.title, "breadcrumbs": self.breadcrumbs()} | context, status=status
        )

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return []


class ListPage(Page):
    """A list: filter, sort, page, export, shareable address; the table alone for htmx."""

    model: Any
    table_class: Any
    filterset_class: Any = None
    site_path: ClassVar[str] = ""
    template: ClassVar[str] = "generic/list.html"
    page_size: ClassVar[int] = 50
    create_url_name: ClassVar[str] = ""
    create_label: ClassVar[StrOrPromise] = ""
    create_permission: ClassVar[str] = ""
    # One sentence, or the parts of the empty state: title, text, icon, phase.
    empty: ClassVar[StrOrPromise | dict[str, Any]] = "Nothing here yet."
    export_name: ClassVar[str] = ""

    def get_queryset(self) -> Any:
        return self.model.objects.all()

    def rows(self) -> Any:
        rows = self.get_queryset().permitted(self.request.user, "view")
        return rows.filter(**{self.site_path: self.site_id}) if self.site_path and self.site_id else rows

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        filterset = (
            self.filterset_class(request.GET, queryset=self.rows(), request=request) if self.filterset_class else None
        )
        if filterset is not None:
            _say_all(filterset.form)
        rows = filterset.qs if filterset is not None else self.rows()
        form = request.GET.get("export")
        if form in {"csv", "xlsx"}:
            return self.export(rows, form)
        table = self.table_class(rows, request=request)
        RequestConfig(request, paginate={"per_page": self.page_size, "silent": True}).configure(table)
        context = {
            "table": table,
            "filter": filterset,
            "count": table.paginator.count if hasattr(table, "paginator") else len(table.rows),
            "create_url": self.create_url(),
            "create_label": self.create_label,
            "export_formats": self.export_links(),
            "empty": self.empty,
        } | self.more()
        return self.render("generic/list_table.html" if self.partial else self.template, context)

    def more(self) -> dict[str, Any]:
        return {}

    def create_url(self) -> str | None:
        if not self.create_url_name or (
            self.create_permission and not self.request.user.has_perm(self.create_permission)
        ):
            return None
        return reverse(self.create_url_name)

    def export_links(self) -> list[tuple[str, str]]:
        query = {k: v for k, v in self.request.GET.items() if k not in {"page", "export"}}
        return [(form.upper(), "?" + urlencode(query | {"export": form})) for form in ("csv", "xlsx")]

    def export(self, rows: Any, form: str) -> Any:
        table = self.table_class(rows, request=self.request)
        RequestConfig(self.request, paginate=False).configure(table)
        table_rows = islice(table.as_values(), MAX_EXPORT + 1)
        header = [str(cell) for cell in next(table_rows)]
        name = self.export_name or str(self.model._meta.verbose_name_plural).replace(" ", "-")
        return (exports.csv_response if form == "csv" else exports.xlsx_response)(name, header, table_rows)


class DetailPage(Page):
    """One object with facts, actions, panels of higher apps, and its history. With ``panels_url_name`` (a ``PanelsPart``) the
    panels are fetched after the page, so that their queries do not add to its own."""

    model: Any
    template: ClassVar[str] = "generic/detail.html"
    panels_url_name: ClassVar[str] = ""
    # Actions that the page asks about, answered with the object.
    asks: ClassVar[tuple[str, ...]] = ()

    def get_queryset(self) -> Any:
        return self.model.objects.all()

    def get(self, request: HttpRequest, pk: Any, **kwargs: Any) -> HttpResponse:
        obj = get_permitted(with_may(self.get_queryset(), request.user, *self.asks), request.user, pk)
        return self.render(self.template, self.context(obj))

    def context(self, obj: Any) -> dict[str, Any]:
        return {
            "object": obj,
            "title": str(obj),
            "facts": self.facts(obj),
            "actions": self.actions(obj),
            "panels": [] if self.panels_url_name else panels.shown(self.request.user, obj),
            "panels_url": self.panels_url(obj),
            "history": audit.history(obj),
        } | self.more(obj)

    def panels_url(self, obj: Any) -> str:
        return reverse(self.panels_url_name, args=[obj.pk]) if self.panels_url_name and panels.panels_for(obj) else ""

    def facts(self, obj: Any) -> list[tuple[str, Any]]:
        return []

    def actions(self, obj: Any) -> list[dict[str, Any]]:
        """``{"label", "url", "method": "get"|"post", "primary": bool, "danger": bool}``; only what this user may do."""
        return []

    def more(self, obj: Any) -> dict[str, Any]:
        return {}

    def may(self, obj: Any, action: str) -> bool:
        """``may`` of the person who asks; a page that asks twice about an object reads once."""
        if action in self.asks and hasattr(obj, f"may_{action}"):
            return bool(getattr(obj, f"may_{action}"))
        known: dict[tuple[Any, str], bool] = self.__dict__.setdefault("_may", {})
        key = (obj.pk, action)
        if key not in known:
            known[key] = may(obj, self.request.user, action)
        return known[key]


class PanelsPart(DetailPage):
    """What higher apps show on an object, fetched after its page; a page of its own without scripts."""

    template = "generic/panels.html"
    nothing: ClassVar[StrOrPromise] = gettext_lazy("Nothing belongs to it yet.")

    def context(self, obj: Any) -> dict[str, Any]:
        return {
            "object": obj,
            "title": str(obj),
            "panels": panels.shown(self.request.user, obj),
            "nothing": self.nothing,
            "breadcrumbs": [*self.trail(), (str(obj), obj.get_absolute_url())],
        }

    def trail(self) -> list[tuple[str, str]]:
        """The crumbs above the object's own."""
        return []

    def render(self, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
        return super().render("generic/_panels.html" if self.partial else template, context, status)


class FormPage(Page):
    """A form that says what is wrong beside the field and keeps what was typed. ``save`` returns where to go next."""

    form_class: Any
    template: ClassVar[str] = "generic/form.html"
    submit_label: ClassVar[StrOrPromise] = "Save"
    success: ClassVar[StrOrPromise] = ""

    def load(self, **kwargs: Any) -> Any:
        """The object the form is about (already checked), or None."""
        return None

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        keywords: dict[str, Any] = {"data": data, "files": files}
        if isinstance(obj, models.Model) and hasattr(self.form_class, "_meta"):
            keywords["instance"] = obj
        form = self.form_class(**keywords)
        limit_choices(form, self.request.user)
        return form

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        obj = self.load(**kwargs)
        return self.show(obj, self.get_form(obj))

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        obj = self.load(**kwargs)
        form = self.get_form(obj, request.POST, request.FILES)
        if not form.is_valid():
            return self.show(obj, form, 422)
        try:
            target = self.save(obj, form)
        except StaleWrite as error:
            return self.show(obj, form, 412, conflict=self.conflict(obj, form, error))
        except DomainError as error:
            add_errors(form, error)
            return self.show(obj, form, int(error.status) if error.status != 409 else 409)
        if self.success:
            messages.success(request, self.success)
        return HttpResponseRedirect(target)

    def conflict(self, obj: Any, form: Any, error: StaleWrite) -> list[dict[str, Any]]:
        kind: Any = type(obj)
        current = kind.objects.get(pk=obj.pk) if isinstance(obj, models.Model) else None
        return [
            {"label": field.label, "yours": form.cleaned_data.get(name), "theirs": getattr(current, name, None)}
            for name, field in form.fields.items()
            if current is not None and hasattr(current, name) and getattr(current, name) != form.cleaned_data.get(name)
        ]

    def show(self, obj: Any, form: Any, status: int = 200, conflict: Any = None) -> HttpResponse:
        return self.render(
            self.template,
            {
                "form": form,
                "object": obj,
                "submit_label": self.submit_label,
                "cancel_url": self.cancel_url(obj),
                "conflict": conflict,
            }
            | self.more(obj),
            status,
        )

    def more(self, obj: Any) -> dict[str, Any]:
        return {}

    def cancel_url(self, obj: Any) -> str:
        return obj.get_absolute_url() if hasattr(obj, "get_absolute_url") else "/"

    def save(self, obj: Any, form: Any) -> str:
        raise NotImplementedError


class CreatePage(FormPage):
    """Create one record of a ModelForm. ``container_field`` names the form field whose object must allow it."""

    model: Any
    container_field: ClassVar[str] = ""
    create_verb: ClassVar[str] = "change"
    create_permission: ClassVar[str] = ""
    submit_label: ClassVar[StrOrPromise] = "Create"

    def load(self, **kwargs: Any) -> Any:
        if self.create_permission:
            require_global(self.request.user, self.create_permission, "create")
        return None

    def save(self, obj: Any, form: Any) -> str:
        data = dict(form.cleaned_data)
        if self.container_field:
            require(data[self.container_field], self.request.user, self.create_verb)
        many = {f.name: data.pop(f.name) for f in self.model._meta.many_to_many if f.name in data}
        return self.perform(data, many).get_absolute_url()

    def perform(self, data: dict[str, Any], many: dict[str, Any]) -> Any:
        return entity_create(actor=self.request.user, model=self.model, data=data, many=many)


class UpdatePage(FormPage):
    """Change one record; the version travels in the form, so a stale form shows both versions (412)."""

    model: Any
    verb: ClassVar[str] = "change"

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(self.model.objects.all(), self.request.user, pk, self.verb)

    def save(self, obj: Any, form: Any) -> str:
        fresh = type(obj).objects.get(pk=obj.pk)
        data = dict(form.cleaned_data)
        many = {f.name: data.pop(f.name) for f in self.model._meta.many_to_many if f.name in data}
        return self.perform(fresh, data, many, sent_version(self.request)).get_absolute_url()

    def perform(self, obj: Any, data: dict[str, Any], many: dict[str, Any], version: int | None) -> Any:
        return entity_update(actor=self.request.user, obj=obj, data=data, expected_version=version, many=many)


class ActionPage(Page):
    """A verb on one object by POST. ``act`` calls the service; refusals come back to the page they were asked from."""

    model: Any
    verb: ClassVar[str] = "change"
    success: ClassVar[StrOrPromise] = "Done."

    def post(self, request: HttpRequest, pk: Any, **kwargs: Any) -> HttpResponse:
        obj = get_permitted(self.model.objects.all(), request.user, pk, self.verb)
        target = self.act(obj) or obj.get_absolute_url()
        if self.success:
            messages.success(request, self.success)
        if getattr(request, "htmx", False):
            response = HttpResponse(status=204)
            response["HX-Redirect"] = target
            return response
        return HttpResponseRedirect(target)

    def act(self, obj: Any) -> str | None:
        raise NotImplementedError


class DeletePage(ActionPage):
    success: ClassVar[StrOrPromise] = "Deleted."
    list_url_name: ClassVar[str] = ""

    def act(self, obj: Any) -> str:
        entity_delete(actor=self.request.user, obj=obj)
        return reverse(self.list_url_name)


def limit_choices(form: Any, user: Any) -> None:
    """A form offers only related rows that the user may name."""
    for field in form.fields.values():
        queryset = getattr(field, "queryset", None)
        if queryset is not None and hasattr(queryset, "permitted"):
            field.queryset = offered(queryset, user)


def add_errors(form: Any, error: DomainError) -> None:
    rows = error.errors or [{"field": "", "message": error.message}]
    for row in rows:
        name = row.get("field") if row.get("field") in form.fields else None
        form.add_error(name, row["message"])
