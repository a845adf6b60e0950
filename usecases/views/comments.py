"""Comments of a gate and of its reviews: a list that follows by itself, and a form of its own, so that nothing typed is swapped away."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join, linebreaks, urlize
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.access import get_permitted
from portal.core.pages import ActionPage, FormPage, Page, sent_version
from usecases import evidence as registry
from usecases import services
from usecases.gates_forms import CommentForm
from usecases.models import Gate, GateComment, GateReview
from usecases.services.audience import who_see
from usecases.services.comments import may_edit
from usecases.views.common import polled
from usecases.views.gates import GATES, gate_crumbs

#: The newest so many are shown; the history has them all.
SHOWN = 100


def comment_html(text: str, names: list[str]) -> SafeString:
    """Plain text with safe links (http and https, no referrer value) and the mentions in bold."""
    parts: list[tuple[SafeString]] = []
    rest = text
    while rest:
        low = rest.lower()
        hits = [(at, -len(n), n) for n in names if (at := low.find(f"@{n.lower()}")) >= 0]
        if not hits:
            break
        at, _size, name = min(hits)
        end = at + 1 + len(name)
        parts += [(mark_safe(urlize(rest[:at], nofollow=True, autoescape=True)),)]  # noqa: S308 urlize escapes
        parts += [(format_html('<b class="pg-mention">{}</b>', rest[at:end]),)]
        rest = rest[end:]
    parts += [(mark_safe(urlize(rest, nofollow=True, autoescape=True)),)]  # noqa: S308 urlize escapes
    return mark_safe(linebreaks(format_html_join("", "{}", parts)))  # noqa: S308 every part is escaped


def comment_rows(gate: Gate, user: Any, review: Any = None) -> list[dict[str, Any]]:
    """Two queries: the comments with their authors, and whom they mention."""
    rows = GateComment.objects.filter(gate=gate).select_related("author").prefetch_related("mentions")
    if review is not None:
        rows = rows.filter(review=review)
    newest = list(rows.order_by("-created_at", "-id")[:SHOWN])
    shown = []
    for row in reversed(newest):
        people = list(row.mentions.all())
        spec = registry.spec(row.key) if row.key else None
        shown.append(
            {
                "row": row,
                "html": comment_html(row.text, [n for p in people for n in (p.name, p.email) if n]),
                "about": (spec.label if spec else row.key) if row.key else "",
                "mentions": [str(person) for person in people],
                "mine": row.author_id == user.pk and row.withdrawn_at is None,
                "may_edit": may_edit(row, user),
            }
        )
    return shown


def _review_id(request: HttpRequest) -> UUID | None:
    try:
        return UUID(request.GET.get("review") or request.POST.get("review") or "")
    except ValueError:
        return None


def write_url(gate: Gate, review: Any = None) -> str:
    url = reverse("usecases:comment-create", args=[gate.pk])
    return f"{url}?{urlencode({'review': review})}" if review else url


class GateComments(Page):
    """The polled part of the gate's and the review's page; by itself a page."""

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        gate = get_permitted(GATES, request.user, pk)
        review = _review_id(request)
        rows = comment_rows(gate, request.user, review)
        about = [[str(r["row"].pk), r["row"].version, r["may_edit"], r["mentions"]] for r in rows]
        context = {"comments": rows, "object": gate, "write_url": write_url(gate, review)}
        if self.partial:
            return polled(request, "usecases/_comments.html", context, about)
        return self.render(
            "usecases/comments.html",
            context
            | {
                "title": _("Comments on gate {n}").format(n=gate.number),
                "subtitle": str(gate.adoption or gate.use_case),
                "breadcrumbs": gate_crumbs(gate, _("Comments")),
            },
        )


class CommentCreate(FormPage):
    title = gettext_lazy("Write a comment")
    form_class = CommentForm
    template = "usecases/comment_form.html"
    submit_label = gettext_lazy("Send")
    success = ""

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(GATES, self.request.user, pk)

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        initial = {"key": self.request.GET.get("key", "")}
        return CommentForm(data, gate=obj, people=who_see(obj), initial=initial)

    def _review(self, gate: Gate) -> GateReview | None:
        chosen = _review_id(self.request)
        return GateReview.objects.filter(pk=chosen, gate=gate).first() if chosen else None

    def more(self, obj: Any) -> dict[str, Any]:
        return {
            "subtitle": str(obj),
            "breadcrumbs": gate_crumbs(obj, _("Comment")),
            "review_id": _review_id(self.request) or "",
            "action_url": self.request.get_full_path(),
            "version": "",
        }

    def save(self, obj: Any, form: Any) -> str:
        review = self._review(obj)
        made = services.comment_create(actor=self.request.user, gate=obj, review=review, **form.cleaned_data)
        return _back(made)


def _back(comment: GateComment) -> str:
    """Where the comment is read: on the review it was written at, or on the gate."""
    if comment.review_id:
        return f"{reverse('usecases:review', args=[comment.review_id])}#comment-{comment.pk}"
    return comment.get_absolute_url()


COMMENTS = GateComment.objects.select_related("gate__use_case", "gate__adoption__site", "gate__adoption__use_case")


class CommentEdit(FormPage):
    title = gettext_lazy("Edit your comment")
    form_class = CommentForm
    template = "usecases/comment_form.html"
    success = gettext_lazy("Changed. It says that it was edited.")

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        return get_permitted(COMMENTS, self.request.user, pk, "change")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> Any:
        initial = {"text": obj.text, "mentions": list(obj.mentions.values_list("pk", flat=True))}
        return CommentForm(data, gate=obj.gate, people=who_see(obj.gate), editing=True, initial=initial)

    def more(self, obj: Any) -> dict[str, Any]:
        return {"subtitle": str(obj.gate), "breadcrumbs": gate_crumbs(obj.gate, _("Comment"))}

    def cancel_url(self, obj: Any) -> str:
        return _back(obj)

    def save(self, obj: Any, form: Any) -> str:
        services.comment_edit(
            actor=self.request.user,
            comment=obj,
            expected_version=sent_version(self.request),
            **form.cleaned_data,
        )
        return _back(obj)


class CommentWithdraw(ActionPage):
    model = GateComment
    success = gettext_lazy("Withdrawn. The place stays, the words are gone.")

    def act(self, obj: Any) -> str:
        services.comment_withdraw(actor=self.request.user, comment=obj)
        return _back(obj)
