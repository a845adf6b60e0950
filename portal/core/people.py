"""People and what they may: invite, change, give and take roles, deactivate. One path for the pages, the API and the command line.

Who may call these is decided by the doors (``core.manage_users``); here are the rules that hold at every door: only a superuser touches
a superuser, somebody always remains who can manage people, and nobody locks themselves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import Permission
from django.contrib.auth.password_validation import validate_password
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.urls import reverse

from portal.core import audit, jobs
from portal.core.access import grant_role, revoke_role
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput, StaleWrite
from portal.core.models import ApiToken, RoleGrant, User
from portal.core.notifications import notify
from portal.core.records import _clean
from portal.core.roles import ROLES, SERVICE, SITE, USE_CASE

# The word for a kind of container in bodies and forms.
KINDS: dict[str, str] = {"sites": SITE, "use_cases": USE_CASE, "services": SERVICE}
MANAGES = (
    Q(is_superuser=True)
    | Q(groups__permissions__codename="manage_users")
    | Q(user_permissions__codename="manage_users")
)
CHANGEABLE = ("email", "name", "organisation")


class PersonState(models.TextChoices):
    """What ``User.state`` says."""

    ACTIVE = "active", "Active"
    INVITED = "invited", "Invited"
    DEACTIVATED = "deactivated", "Deactivated"


@dataclass(frozen=True)
class RoleOn:
    """A role and the containers it is to hold on; none for a role that holds everywhere, or nowhere yet."""

    role: str
    containers: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Invitation:
    """``url`` sets a password once, until ``valid_until`` (wall time). It is told to whoever made it and kept nowhere."""

    person: User
    url: str
    valid_until: datetime


@transaction.atomic
def person_create(
    *,
    actor: Any,
    email: str,
    name: str = "",
    organisation: str = "",
    roles: Sequence[RoleOn] = (),
    password: str | None = None,
) -> User:
    """An account with its roles. Without a password nobody signs in to it until a link has set one."""
    person = User(email=_address(email), name=name.strip(), organisation=organisation.strip())
    if password is not None:
        try:
            validate_password(password, person)
        except ValidationError as error:
            raise InvalidInput([{"field": "password", "message": text} for text in error.messages]) from error
    person.set_password(password)
    _clean(person, exclude=("password",))
    try:
        with transaction.atomic():
            person.save(force_insert=True)
    except IntegrityError as error:
        raise InvalidInput({"email": "This address is taken."}) from error
    audit.record(
        actor=actor,
        action="user.create",
        obj=person,
        changes={"email": person.email, "name": person.name, "organisation": person.organisation},
    )
    for at, wanted in enumerate(roles):
        _grant(actor, person, wanted.role, wanted.containers, at=at)
    return person


@transaction.atomic
def person_invite(
    *, actor: Any, email: str, name: str = "", organisation: str = "", roles: Sequence[RoleOn] = ()
) -> Invitation:
    """An account without a password, and the link that sets one; the link also goes out by e-mail where that is configured."""
    person = person_create(actor=actor, email=email, name=name, organisation=organisation, roles=roles)
    return _invite(actor, person)


@transaction.atomic
def person_relink(*, actor: Any, person: User) -> Invitation:
    """A new link to set a password. The former link, a password and every session of the person end at once; tokens go on."""
    held = _hold(actor, person)
    if actor is not None and actor.pk == held.pk:
        raise DomainError("own_account", "This is your own account: change your password under Settings.")
    if not held.is_active:
        raise DomainError("inactive", f"{held} is deactivated. Activate the account first.")
    had_one = held.has_usable_password()
    held.set_unusable_password()
    held.save(update_fields=["password"])
    ended = _end_sessions(held)
    if had_one:
        who = str(actor) if actor is not None else "An administrator"
        notify(user_ids=[held.pk], kind="account", text=f"{who} made a link to set a new password for your account.")
    return _invite(actor, held, {"password_taken": had_one, "sessions_ended": ended})


@transaction.atomic
def person_update(*, actor: Any, person: User, data: dict[str, Any], expected_version: str | None = None) -> User:
    """Change e-mail address, name or organisation. A changed address ends links that were sent to the old one."""
    held = _hold(actor, person, expected_version)
    values = {key: (_address(text) if key == "email" else text.strip()) for key, text in data.items()}
    if set(values) - set(CHANGEABLE):
        raise InvalidInput(dict.fromkeys(sorted(set(values) - set(CHANGEABLE)), "This is not changed here."))
    changes = {key: [getattr(held, key), value] for key, value in values.items() if getattr(held, key) != value}
    if not changes:
        return held
    for key, (_old, new) in changes.items():
        setattr(held, key, new)
    _clean(held, exclude=("password",))
    try:
        with transaction.atomic():
            held.save(update_fields=[*changes])
    except IntegrityError as error:
        raise InvalidInput({"email": "This address is taken."}) from error
    if "email" in changes:
        EmailAddress.objects.filter(user=held).exclude(email=held.email).delete()
    audit.record(actor=actor, action="user.update", obj=held, changes=changes)
    return held


@transaction.atomic
def person_grant(
    *, actor: Any, person: User, role: str, containers: Iterable[Any] = (), expected_version: str | None = None
) -> User:
    """Give a role, or containers to a role that is held. ``nothing_to_do`` where all of it holds already."""
    held = _hold(actor, person, expected_version)
    _grant(actor, held, role, tuple(containers))
    return held


@transaction.atomic
def person_revoke(
    *, actor: Any, person: User, role: str, containers: Iterable[Any] = (), expected_version: str | None = None
) -> User:
    """Take containers of a role back; without containers the role with all of them."""
    held = _hold(actor, person, expected_version)
    chosen = tuple(containers)
    if role not in ROLES:
        raise InvalidInput({"role": f"Choose from: {', '.join(ROLES)}."})
    if not held.groups.filter(name=role).exists():
        raise DomainError("not_held", f"{held} is not {_word(role)}.")
    grants = RoleGrant.objects.filter(user=held, role=role)
    if chosen:
        there = set(grants.filter(container_id__in=[row.pk for row in chosen]).values_list("container_id", flat=True))
        missing = [str(row) for row in chosen if row.pk not in there]
        if missing:
            raise DomainError("not_held", f"{held} is not {_word(role)} on {', '.join(missing)}.")
        revoke_role(held, role, *chosen)
    else:
        with _keeping_a_manager(actor, held, ends="core.manage_users" in ROLES[role].extra):
            chosen = tuple(containers_of(grants))
            revoke_role(held, role, *chosen)
            grants.delete()
            held.groups.remove(*held.groups.filter(name=role))
    held.__dict__.pop("standing", None)
    still = held.groups.filter(name=role).exists()
    audit.record(
        actor=actor,
        action="user.revoke",
        obj=held,
        changes={"role": role, "on": [str(row) for row in chosen], "role_kept": still},
    )
    return held


@transaction.atomic
def person_deactivate(*, actor: Any, person: User, expected_version: str | None = None) -> User:
    """Nobody gets in with this account any more: sessions end, tokens are revoked, an open link is void. Roles and history stay."""
    held = _hold(actor, person, expected_version)
    if actor is not None and actor.pk == held.pk:
        raise DomainError(
            "own_account", "You cannot deactivate your own account; somebody else who manages people can."
        )
    if not held.is_active:
        raise DomainError("wrong_state", f"{held} is deactivated already.")
    with _keeping_a_manager(actor, held, ends=True):
        held.is_active = False
        if not held.has_usable_password():
            held.set_unusable_password()
        held.save(update_fields=["is_active", "password"])
    revoked = ApiToken.objects.filter(user=held, revoked_at=None).update(revoked_at=wall_now())
    ended = _end_sessions(held)
    audit.record(
        actor=actor,
        action="user.deactivate",
        obj=held,
        changes={"is_active": [True, False], "tokens_revoked": revoked, "sessions_ended": ended},
    )
    return held


@transaction.atomic
def person_activate(*, actor: Any, person: User, expected_version: str | None = None) -> User:
    """Let a deactivated person in again, with the same roles and password. Sessions and tokens of before stay ended."""
    held = _hold(actor, person, expected_version)
    if held.is_active:
        raise DomainError("wrong_state", f"{held} is active already.")
    held.is_active = True
    held.save(update_fields=["is_active"])
    audit.record(actor=actor, action="user.activate", obj=held, changes={"is_active": [False, True]})
    return held


def mail_is_configured() -> bool:
    return bool(settings.EMAIL_HOST)


def not_given(role: str, containers: Iterable[Any]) -> dict[str, str]:
    """The kinds of container among these on which the role gives nothing, each with the sentence that says so."""
    kinds = {row._meta.label for row in containers}
    known = ROLES[role]
    return {
        word: f"{known.label} holds on all {word.replace('_', ' ')} already."
        if label in known.everywhere
        else f"{known.label} is not given on {word.replace('_', ' ')}."
        for word, label in KINDS.items()
        if label in kinds and label not in known.on
    }


def link_for(person: User) -> Invitation:
    """A link that sets the password of a person once (the machinery of "Forgot the password?")."""
    path = reverse(
        "account_reset_password_from_key",
        kwargs={"uidb36": user_pk_to_url_str(person), "key": default_token_generator.make_token(person)},
    )
    until = wall_now() + timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT)
    return Invitation(person, f"{settings.PUBLIC_URL.rstrip('/')}{path}", until)


def containers_of(grants: Iterable[RoleGrant]) -> list[Any]:
    """The rows that these grants hold on, one query for each kind."""
    ids: dict[str, set[Any]] = {}
    for grant in grants:
        ids.setdefault(grant.container, set()).add(grant.container_id)
    return [row for label, some in ids.items() for row in apps.get_model(label).objects.filter(pk__in=some)]


def _address(text: str) -> str:
    return User.objects.normalize_email(text.strip()).lower()


def _word(role: str) -> str:
    return ROLES[role].label


def _hold(actor: Any, person: User, expected_version: str | None = None) -> User:
    """The person's row, locked; refuses a stale version, and anybody but a superuser where it is a superuser's."""
    # Not against keys: an audit row of somebody else's write may point here meanwhile.
    held: User = User.objects.select_for_update(no_key=True).get(pk=person.pk)
    if held.is_superuser and actor is not None and not actor.is_superuser:
        raise DomainError("superuser", "Only a superuser changes the account of a superuser.", status=403)
    if expected_version is not None and expected_version != held.version:
        raise StaleWrite
    return held


def _grant(actor: Any, person: User, role: str, containers: tuple[Any, ...], at: int | None = None) -> None:
    """``at``: which of several roles of one body it is, for the error's field."""
    where = "" if at is None else f"roles[{at}]."
    if role not in ROLES:
        raise InvalidInput({f"{where}role": f"Choose from: {', '.join(ROLES)}."})
    wrong = not_given(role, containers)
    if wrong:
        raise InvalidInput({f"{where}{word}": text for word, text in wrong.items()})
    there = set(RoleGrant.objects.filter(user=person, role=role).values_list("container_id", flat=True))
    new = [row for row in containers if row.pk not in there]
    if not new and person.groups.filter(name=role).exists():
        raise DomainError("nothing_to_do", f"{person} is {_word(role)} there already.")
    grant_role(person, role, *new)
    audit.record(actor=actor, action="user.grant", obj=person, changes={"role": role, "on": [str(row) for row in new]})


def _invite(actor: Any, person: User, changes: dict[str, Any] | None = None) -> Invitation:
    made = link_for(person)
    by_mail = mail_is_configured()
    audit.record(actor=actor, action="user.invite", obj=person, changes={"by_mail": by_mail} | (changes or {}))
    if by_mail:
        jobs.job_start(
            actor=actor,
            kind="invitation",
            title=f"The invitation by e-mail to {person.email}"[:200],
            task="core.send_invitation",
            args=[str(person.pk)],
            unique_key=f"invitation:{person.pk}",
        )
    return made


def _end_sessions(person: User) -> int:
    """Delete the person's sessions, so that they do not come back with the account. Returns how many there were."""
    found = [
        session.session_key
        for session in Session.objects.filter(expire_date__gt=wall_now()).iterator()
        if session.get_decoded().get("_auth_user_id") == str(person.pk)
    ]
    Session.objects.filter(session_key__in=found).delete()
    return len(found)


@contextmanager
def _keeping_a_manager(actor: Any, person: User, *, ends: bool) -> Iterator[None]:
    """Refuses what leaves nobody who can sign in and manage people. One row is the lock, so two cannot remove each other."""
    if not ends:
        yield
        return
    list(
        Permission.objects.select_for_update(no_key=True).filter(
            codename="manage_users", content_type__app_label="core"
        )
    )
    yield
    able = Q(last_login__isnull=False) | ~Q(password__startswith="!")  # noqa: S106
    if User.objects.filter(MANAGES, able, is_active=True).exists():
        return
    own = actor is not None and actor.pk == person.pk
    raise DomainError(
        "last_manager",
        f"{'You are' if own else f'{person} is'} the last person who can manage people. "
        f"Give somebody else a role that may ({', '.join(managing_roles())}) first.",
    )


def managing_roles() -> list[str]:
    return [role.label for role in ROLES.values() if "core.manage_users" in role.extra]


def require_manager(user: Any) -> None:
    """403 for whoever does not manage people; says who does."""
    if not user.has_perm("core.manage_users"):
        roles = managing_roles()
        text = f"You may not manage people. {' or '.join(roles)} may: ask one of them."
        raise DomainError("not_allowed", text, {"action": "manage people", "who_may": roles}, status=403)
