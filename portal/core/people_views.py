"""Settings -> People: the list, a person, invite, roles and where they hold, deactivate."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import django_tables2 as tables
from django import forms
from django.apps import apps
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core import audit, people
from portal.core.access import container_permission, get_permitted
from portal.core.api.people import PersonFilter
from portal.core.errors import InvalidInput
from portal.core.models import ApiToken, AuditEntry, User
from portal.core.pages import ActionPage, DetailPage, FormPage, ListPage, whole_number
from portal.core.people_forms import GrantForm, InviteForm, PersonForm
from portal.core.places import in_words, names_of_places, places_of, roles_held
from portal.core.roles import ROLES, VERBS
from portal.core.templatetags.phasegate import age

_LABELS = dict(people.PersonState.choices)
_LINK = "set_password_link"


def _crumbs(*more: tuple[str, str]) -> list[tuple[str, str]]:
    return [(_("Settings"), reverse("core:settings")), (_("People"), reverse("core:people")), *more]


class PeopleTable(tables.Table):
    name = tables.Column(linkify=True, verbose_name=gettext_lazy("Name"), empty_values=())
    roles = tables.Column(verbose_name=gettext_lazy("Roles and where they hold"), empty_values=(), orderable=False)
    state = tables.Column(verbose_name=gettext_lazy("State"), orderable=False)
    last_login = tables.Column(verbose_name=gettext_lazy("Last sign-in"), empty_values=())

    class Meta:
        model = User
        fields = ("name", "email", "organisation", "roles", "state", "last_login")
        order_by = "name"
        row_attrs = {"data-href": lambda record: record.get_absolute_url()}

    def __init__(self, *args: Any, request: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.names = names_of_places(request.user)

    def render_name(self, record: User) -> str:
        return str(record)

    def render_roles(self, record: User) -> Any:
        rows = in_words(record, self.names, most=3)
        if not rows:
            return (
                _("Superuser")
                if record.is_superuser
                else format_html('<span class="pg-quiet">{}</span>', _("No role yet"))
            )
        return format_html(
            "<div>{}</div>", format_html_join("", '<div>{} <span class="pg-quiet">{}</span></div>', rows)
        )

    def value_roles(self, record: User) -> str:
        first = ["Superuser"] if record.is_superuser else []
        return "; ".join([*first, *(f"{role}: {where}" for role, where in in_words(record, self.names))])

    def render_state(self, value: str) -> str:
        return render_to_string("components/status.html", {"state": _shown(value), "label": _LABELS[value]})

    def value_state(self, value: str) -> str:
        return _LABELS[value]

    def render_last_login(self, value: Any) -> Any:
        return age(value) if value else format_html('<span class="pg-quiet">{}</span>', _("never"))

    def value_last_login(self, value: Any) -> Any:
        return value


def _shown(state: str) -> str:
    """The word that the status component knows."""
    return {"invited": "pending", "deactivated": "cancelled"}.get(state, state)


class PeoplePage(ListPage):
    title = gettext_lazy("People")
    model = User
    table_class = PeopleTable
    filterset_class = PersonFilter
    create_url_name = "core:person-invite"
    create_label = gettext_lazy("Invite a person")
    export_name = "people"

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        people.require_manager(request.user)
        return super().get(request, **kwargs)

    def get_queryset(self) -> Any:
        return User.objects.prefetch_related("groups", "role_grants")

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return _crumbs()


class PersonPage(DetailPage):
    model = User
    template = "core/person.html"

    def get_queryset(self) -> Any:
        return User.objects.prefetch_related("groups")

    def get(self, request: HttpRequest, pk: Any, **kwargs: Any) -> HttpResponse:
        response = super().get(request, pk, **kwargs)
        if self.link is not None:
            response["Cache-Control"] = "no-store"
        return response

    link: dict[str, Any] | None = None

    def more(self, obj: User) -> dict[str, Any]:
        kept = self.request.session.get(_LINK)
        if kept and kept["person"] == str(obj.pk):
            del self.request.session[_LINK]
            self.link = kept | {"until": parse_datetime(kept["until"])}
        places, hidden = places_of(self.request.user, obj)
        # An entry names places by their names of then: only for eyes that may see any of them.
        sees_all = all(self.request.user.has_perm(container_permission(label, "view")) for label in VERBS)
        return {
            "link": self.link,
            "by_mail": people.mail_is_configured(),
            "state": {"state": _shown(obj.state), "label": _LABELS[obj.state]},
            "roles": roles_held(obj, places),
            "places": places,
            "hidden": hidden,
            "may_change": self._may_change(obj),
            "history": [_told(entry, where=sees_all) for entry in audit.history(obj)],
            "history_url": f"{reverse('core:audit')}?{urlencode({'q': str(obj)})}",
            "breadcrumbs": _crumbs((str(obj), obj.get_absolute_url())),
        }

    def _may_change(self, obj: User) -> bool:
        return self.request.user.is_superuser or not obj.is_superuser

    def facts(self, obj: User) -> list[tuple[str, Any]]:
        tokens = ApiToken.objects.filter(user=obj, revoked_at=None).count()
        rows = [
            (_("E-mail address"), obj.email),
            (_("Organisation"), obj.organisation),
            (_("Last sign-in"), age(obj.last_login) if obj.last_login else _("never")),
            (_("Account made"), age(obj.date_joined)),
            (_("API tokens in use"), tokens),
        ]
        return [*rows, (_("Superuser"), _("yes: may do everything"))] if obj.is_superuser else rows

    def actions(self, obj: User) -> list[dict[str, Any]]:
        if not self._may_change(obj):
            return []
        own = obj.pk == self.request.user.pk
        found: list[dict[str, Any]] = [
            {
                "label": _("Give a role"),
                "url": reverse("core:person-grant", args=[obj.pk]),
                "icon": "add",
                "primary": obj.is_active,
            },
            {"label": _("Edit"), "url": reverse("core:person-edit", args=[obj.pk]), "icon": "edit"},
        ]
        if own:
            return found
        if not obj.is_active:
            url = reverse("core:person-activate", args=[obj.pk])
            return [{"label": _("Activate"), "url": url, "post": True, "primary": True}, *found]
        found.append(
            {"label": _("New password link"), "url": reverse("core:person-link", args=[obj.pk]), "icon": "link"}
        )
        found.append(
            {"label": _("Deactivate"), "url": reverse("core:person-deactivate", args=[obj.pk]), "danger": True}
        )
        return found


def _told(entry: AuditEntry, *, where: bool) -> AuditEntry:
    """The entry with a sentence where there is one for it; else as it is. ``where``: whether places are named."""
    said = entry.changes
    role = ROLES[said["role"]].label if said.get("role") in ROLES else said.get("role", "")
    on = ", ".join(said.get("on") or ()) if where else ""
    ended = said.get("tokens_revoked", 0) + said.get("sessions_ended", 0)
    sentences = {
        "user.create": _("made the account"),
        "user.invite": _("took the password away and made a link for a new one")
        if said.get("password_taken")
        else _("made a link to set a password"),
        "user.invite_sent": _("sent the link by e-mail to %(to)s") % {"to": said.get("to", "")},
        "user.grant": _("gave %(role)s on %(where)s") % {"role": role, "where": on}
        if on
        else _("gave %(role)s") % {"role": role},
        "user.revoke": _("took %(role)s on %(where)s") % {"role": role, "where": on}
        if on and said.get("role_kept")
        else _("took %(role)s") % {"role": role},
        "user.deactivate": _("deactivated the account; %(n)d sessions and tokens ended") % {"n": ended}
        if ended
        else _("deactivated the account"),
        "user.activate": _("activated the account"),
    }
    if entry.action in sentences:
        entry.summary, entry.changes = sentences[entry.action], {}  # type: ignore[attr-defined]
    return entry


class _PersonForm(FormPage):
    """A form about one person, for those who manage people."""

    def load(self, pk: Any = None, **kwargs: Any) -> Any:
        rows: Any = User.objects.all()
        self.person = get_permitted(rows, self.request.user, pk, "change")
        return self.person

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return _crumbs((str(self.person), self.person.get_absolute_url()), (str(self.title), ""))


class InvitePage(FormPage):
    title = gettext_lazy("Invite a person")
    form_class = InviteForm
    template = "core/person_invite.html"
    submit_label = gettext_lazy("Invite")

    def load(self, **kwargs: Any) -> None:
        people.require_manager(self.request.user)

    def breadcrumbs(self) -> list[tuple[str, str]]:
        return _crumbs((str(self.title), ""))

    def cancel_url(self, obj: Any) -> str:
        return reverse("core:people")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> InviteForm:
        asked = (data or {}).get("count", "1")
        return InviteForm(data, user=self.request.user, count=whole_number(asked, 3) or 1)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if "more" not in request.POST:
            return super().post(request, **kwargs)
        self.load(**kwargs)
        bound = self.get_form(None, request.POST)
        # What was typed comes back as a form that was not sent yet: nothing is wrong with it so far.
        typed = {name: bound[name].data for name in bound.fields}
        return self.show(None, InviteForm(initial=typed, user=request.user, count=bound.count + 1))

    def save(self, obj: Any, form: InviteForm) -> str:
        known = {name: form.cleaned_data[name] for name in ("email", "name", "organisation", "roles")}
        made = people.person_invite(actor=self.request.user, **known)
        return _with_link(self.request, made)

    def more(self, obj: Any) -> dict[str, Any]:
        return {"by_mail": people.mail_is_configured(), "days": settings.PASSWORD_RESET_TIMEOUT // 86_400}


def _with_link(request: Any, made: people.Invitation) -> str:
    """Keeps the link for the next look at the person's page, which shows it once."""
    request.session[_LINK] = {"person": str(made.person.pk), "url": made.url, "until": made.valid_until.isoformat()}
    return made.person.get_absolute_url()


class PersonEdit(_PersonForm):
    title = gettext_lazy("Edit")
    form_class = PersonForm

    def get_form(self, obj: User, data: Any = None, files: Any = None) -> PersonForm:
        return PersonForm(data, initial={name: getattr(obj, name) for name in people.CHANGEABLE})

    def save(self, obj: User, form: PersonForm) -> str:
        people.person_update(
            actor=self.request.user,
            person=obj,
            data=form.cleaned_data,
            expected_version=self.request.POST.get("version") or None,
        )
        return obj.get_absolute_url()


class PersonGrant(_PersonForm):
    title = gettext_lazy("Give a role")
    form_class = GrantForm
    submit_label = gettext_lazy("Give the role")

    def get_form(self, obj: User, data: Any = None, files: Any = None) -> GrantForm:
        asked = self.request.GET.get("role", "")
        return GrantForm(data, user=self.request.user, initial={"role": asked} if asked in ROLES else None)

    def save(self, obj: User, form: GrantForm) -> str:
        wanted = form.cleaned_data["wanted"]
        people.person_grant(actor=self.request.user, person=obj, role=wanted.role, containers=wanted.containers)
        return obj.get_absolute_url()


class PersonRevoke(ActionPage):
    """``role`` with ``place``: the role on that one place; with ``whole``: the role itself."""

    model = User
    success = ""

    def act(self, obj: User) -> str:
        role, place = self.request.POST.get("role", ""), self.request.POST.get("place", "")
        if role not in ROLES:
            raise InvalidInput({"role": _("There is no such role.")}, _("There is no such role."))
        if "whole" in self.request.POST:
            people.person_revoke(actor=self.request.user, person=obj, role=role)
            said = _("%(person)s is no longer %(role)s.") % {"person": obj, "role": ROLES[role].label}
            messages.success(self.request, said)
            return obj.get_absolute_url()
        word, _colon, pk = place.partition(":")
        if word not in people.KINDS:
            raise InvalidInput({"place": _("There is no such place.")}, _("There is no such place."))
        row = get_permitted(apps.get_model(people.KINDS[word]).objects.all(), self.request.user, pk)
        people.person_revoke(actor=self.request.user, person=obj, role=role, containers=[row])
        words = {"person": obj, "role": ROLES[role].label, "where": row}
        messages.success(self.request, _("%(person)s is no longer %(role)s on %(where)s.") % words)
        return obj.get_absolute_url()


class _Confirmed(_PersonForm):
    """Says what will happen, then does it."""

    form_class = forms.Form
    template = "generic/confirm.html"

    def more(self, obj: User) -> dict[str, Any]:
        return {"action_url": self.request.path, "form": "", "title": self.question(obj)} | self.about(obj)

    def question(self, obj: User) -> str:
        raise NotImplementedError

    def about(self, obj: User) -> dict[str, Any]:
        raise NotImplementedError


class PersonDeactivate(_Confirmed):
    title = gettext_lazy("Deactivate")
    submit_label = gettext_lazy("Deactivate")
    success = gettext_lazy("The account is deactivated; nobody is signed in with it any more.")

    def question(self, obj: User) -> str:
        return _("Deactivate %(person)s?") % {"person": obj}

    def about(self, obj: User) -> dict[str, Any]:
        tokens = ApiToken.objects.filter(user=obj, revoked_at=None).count()
        return {
            "text": _("At once:"),
            "effects": [
                {"label": _("Every session ends, and nobody can sign in with this account.")},
                *([{"label": _("API tokens are revoked for good."), "count": tokens}] if tokens else []),
            ],
            "undo_text": _("Roles and history stay. You can activate the account again."),
        }

    def save(self, obj: User, form: Any) -> str:
        people.person_deactivate(actor=self.request.user, person=obj)
        return obj.get_absolute_url()


class PersonLink(_Confirmed):
    title = gettext_lazy("New password link")
    submit_label = gettext_lazy("Make the link")

    def question(self, obj: User) -> str:
        return _("New password link for %(person)s?") % {"person": obj}

    def about(self, obj: User) -> dict[str, Any]:
        has_one = obj.has_usable_password()
        return {
            "text": _("You get a link that sets a password once. Give it to nobody but this person.")
            if has_one
            else _("You get a link that sets a password once; the link of before no longer works."),
            "effects": [
                {"label": _("The present password no longer works, and every session ends.")},
                {"label": _("The person is told that you did this, and the audit trail keeps it.")},
            ]
            if has_one
            else [],
            "danger": has_one,
        }

    def save(self, obj: User, form: Any) -> str:
        return _with_link(self.request, people.person_relink(actor=self.request.user, person=obj))


class PersonActivate(ActionPage):
    model = User
    success = gettext_lazy("The account is active again.")

    def act(self, obj: User) -> str:
        people.person_activate(actor=self.request.user, person=obj)
        return obj.get_absolute_url()
