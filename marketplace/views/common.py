"""What the marketplace's pages share."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from portal.core.access import get_permitted
from portal.core.pages import Page


class ConfirmPage(Page):
    """Says what will happen to how many things, then does it. ``confirm_name``: the name is typed, because there is no way back."""

    model: Any
    verb: ClassVar[str] = "change"
    submit_label: ClassVar[str] = ""
    success: ClassVar[str] = ""

    def load(self, pk: Any) -> Any:
        return get_permitted(self.model.objects.all(), self.request.user, pk, self.verb)

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        return self.show(self.load(pk))

    def show(self, obj: Any, name_error: str = "", status: int = 200) -> HttpResponse:
        context = {
            "action_url": self.request.path,
            "cancel_url": obj.get_absolute_url(),
            "submit_label": self.submit_label,
            "name_error": name_error,
        }
        return self.render("generic/confirm.html", context | self.about(obj), status)

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        obj = self.load(pk)
        name = self.about(obj).get("confirm_name")
        if name and request.POST.get("confirm_name", "").strip() != name:
            return self.show(obj, _("Type the name exactly as it is shown."), 422)
        target = self.act(obj) or obj.get_absolute_url()
        messages.success(request, self.success)
        return HttpResponseRedirect(target)

    def about(self, obj: Any) -> dict[str, Any]:
        """``title``, ``text``, and optionally ``effects``, ``confirm_name``, ``undo_text``."""
        raise NotImplementedError

    def act(self, obj: Any) -> str | None:
        raise NotImplementedError
