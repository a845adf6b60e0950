"""What every app stands on: people, tokens, audit, jobs, notifications."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import Group, Permission, PermissionsMixin
from django.db import models
from django.db.models.functions import Cast, Lower
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from guardian.mixins import GuardianUserMixin

from portal.core import prepared
from portal.core.access import Access, PermittedQuerySet
from portal.core.clock import wall_now
from portal.core.ids import uuid7


class Entity(models.Model):
    """Base of every record with an address: UUID key, times, and a version that each write raises by one."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(_("created"), default=wall_now, editable=False)
    updated_at = models.DateTimeField(_("changed"), default=wall_now, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)

    access: ClassVar[tuple[Access, ...]] = ()
    objects = PermittedQuerySet.as_manager()

    class Meta:
        abstract = True

    @property
    def etag(self) -> str:
        return f'"{self.pk.hex[-12:]}-{self.version}"'


class ExternallyKeyed(models.Model):
    """A record that another system also knows, by ``external_source`` and ``external_id``."""

    external_source = models.CharField(_("external system"), max_length=60, blank=True, default="")
    external_id = models.CharField(_("key in that system"), max_length=200, blank=True, default="")

    class Meta:
        abstract = True


class UserManager(BaseUserManager["User"]):
    def get_queryset(self) -> Any:
        return PermittedQuerySet(self.model, using=self._db)

    def permitted(self, user: Any, action: str = "view") -> Any:
        return self.get_queryset().permitted(user, action)

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> User:
        if not email or "@" not in email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username)


class Standing(NamedTuple):
    """What every page asks about a person: role keys in order, global permissions of the roles and their own, unread messages."""

    roles: list[str]
    permissions: frozenset[str]
    unread: int


class User(AbstractBaseUser, PermissionsMixin, GuardianUserMixin):
    """A person (or a machine account). Roles are auth groups; see portal.core.roles."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(_("e-mail address"), unique=True)
    name = models.CharField(_("name"), max_length=120, blank=True)
    organisation = models.CharField(_("organisation"), max_length=120, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=60, default="UTC")
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(_("active"), default=True)
    date_joined = models.DateTimeField(default=wall_now, editable=False)

    # Accounts are seen and changed by those who manage people; anybody may name a person in a form (owner, rater, signer).
    access = (Access(everything="core.manage_users"), Access(everybody=("name",), only=("name",)))
    objects = UserManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        constraints = [
            models.UniqueConstraint(
                Lower("email"), name="user_email_ci", violation_error_message=_("This address is taken.")
            )
        ]
        permissions = [("view_audit", "Can read the whole audit trail"), ("manage_users", "Can manage users and roles")]

    def __str__(self) -> str:
        return self.name or self.email

    def get_absolute_url(self) -> str:
        return reverse("core:person", args=[self.pk])

    @property
    def state(self) -> str:
        """active, invited (no password set and never signed in) or deactivated."""
        if not self.is_active:
            return "deactivated"
        return "active" if self.last_login is not None or self.has_usable_password() else "invited"

    @property
    def version(self) -> str:
        """What a conditional write compares: a digest of what people who manage users may change. Two queries."""
        held = sorted(self.groups.values_list("name", flat=True))
        on = sorted(f"{role} {place}" for role, place in self.role_grants.values_list("role", "container_id"))
        text = "\0".join([self.email, self.name, self.organisation, str(self.is_active), *held, *on])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def etag(self) -> str:
        return f'"{self.pk.hex[-12:]}-{self.version}"'

    @cached_property
    def standing(self) -> Standing:
        """One query, once per request: the object lives as long as its request."""
        kept = prepared.statement("standing", _standing_rows)
        roles, permissions, unread = set(), set(), 0
        for role, app, text in kept.run({prepared.USER: self.pk}) if kept is not None else ():
            if role:
                roles.add(role)
            if app:
                permissions.add(f"{app}.{text}")
            elif not role:
                unread = int(text)
        return Standing(sorted(roles), frozenset(permissions), unread)

    @property
    def role_keys(self) -> list[str]:
        return self.standing.roles

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """A global permission from ``standing``; one on an object is asked of the authentication backends."""
        if obj is not None:
            return super().has_perm(perm, obj)
        return self.is_active and (self.is_superuser or perm in self.standing.permissions)


class RoleGrant(models.Model):
    """That a role of a person holds on one container. The verbs themselves are object permissions, which this explains."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="role_grants")
    role = models.CharField(max_length=40)
    container = models.CharField(max_length=60)
    container_id = models.UUIDField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "role", "container_id"], name="role_grant_once")]

    def __str__(self) -> str:
        return f"{self.role} on {self.container} {self.container_id}"


def _standing_rows() -> Any:
    """Role, app and codename of each permission through a role, then of those held without one; last, alone, the unread messages."""
    nothing = models.Value("", output_field=models.CharField())
    by_role = Group.objects.filter(user=prepared.USER).order_by()
    own = Permission.objects.filter(user=prepared.USER).order_by()
    unread = Notification.objects.filter(user=prepared.USER, read_at=None).order_by().values("user")
    counted = unread.annotate(n=Cast(models.Count("pk"), models.CharField()))
    return by_role.values_list("name", "permissions__content_type__app_label", "permissions__codename").union(
        own.values_list(nothing, "content_type__app_label", "codename"),
        counted.values_list(nothing, nothing, "n"),
        all=True,
    )


class ApiToken(Entity):
    """A personal access token. Only its SHA-256 is kept; the text is shown once."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(_("name"), max_length=80)
    prefix = models.CharField(max_length=12, editable=False)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(_("scopes"), default=list)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    access = (Access(None, own="user_id"),)

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @staticmethod
    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def new_secret(cls, kind: str = "pgt") -> str:
        return f"{kind}_{secrets.token_urlsafe(32)}"

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


class AuditEntry(models.Model):
    """One write, by whom, through which door. Written by the service, in its own transaction; never changed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(default=wall_now, db_index=True)
    actor = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="audit_entries")
    actor_label = models.CharField(max_length=160)
    via = models.CharField(max_length=20)
    action = models.CharField(max_length=80, db_index=True)
    object_type = models.CharField(max_length=80)
    object_id = models.CharField(max_length=64)
    object_label = models.CharField(max_length=200)
    site_ref = models.UUIDField(null=True, db_index=True)
    use_case_ref = models.UUIDField(null=True, db_index=True)
    service_ref = models.UUIDField(null=True, db_index=True)
    changes = models.JSONField(default=dict)
    request_id = models.CharField(max_length=64, blank=True)

    access = (
        Access(None, own="actor_id", everything="core.view_audit"),
        Access("devices.Site", "site_ref"),
        Access("usecases.UseCase", "use_case_ref"),
        # Customers see their service, not what other customers did there.
        Access("marketplace.Service", "service_ref", verbs=(("view", "change"),)),
    )
    objects = PermittedQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "id"]
        indexes = [models.Index(fields=["object_type", "object_id", "-at"])]

    def __str__(self) -> str:
        return f"{self.action} {self.object_label}"


class JobState(models.TextChoices):
    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


class Job(Entity):
    """Long work that somebody can watch. The row is the truth: what a broker lost is enqueued again from it."""

    kind = models.CharField(max_length=80)
    title = models.CharField(max_length=200)
    task = models.CharField(max_length=120)
    args = models.JSONField(default=list)
    state = models.CharField(max_length=12, choices=JobState.choices, default=JobState.QUEUED)
    progress = models.FloatField(default=0.0)
    step = models.CharField(max_length=200, blank=True)
    result = models.JSONField(null=True)
    error = models.JSONField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=3)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="jobs")
    site_ref = models.UUIDField(null=True)
    use_case_ref = models.UUIDField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    unique_key = models.CharField(max_length=160, null=True, unique=True)

    access = (
        Access(None, own="created_by_id", everything="core.view_audit"),
        Access("devices.Site", "site_ref", verbs=(("cancel", "operate"),)),
        Access("usecases.UseCase", "use_case_ref", verbs=(("cancel", "change"),)),
    )

    class Meta:
        ordering = ["-created_at", "id"]
        indexes = [models.Index(fields=["state", "created_at"])]

    def __str__(self) -> str:
        return self.title


class Notification(Entity):
    """A line in somebody's inbox."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="notifications")
    kind = models.CharField(max_length=60)
    text = models.CharField(max_length=300)
    url = models.CharField(max_length=300, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)
    dedupe_key = models.CharField(max_length=160, null=True)
    # Wall time of the mail that carried the same line; None where none was asked for or it has not gone yet.
    mailed_at = models.DateTimeField(null=True, blank=True, editable=False)

    access = (Access(None, own="user_id"),)

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [models.UniqueConstraint(fields=["user", "dedupe_key"], name="notification_once")]
        indexes = [models.Index(fields=["user", "read_at"])]

    def __str__(self) -> str:
        return self.text


class IdempotencyRecord(models.Model):
    """The first answer to a POST with an Idempotency-Key, kept for 24 hours."""

    user = models.ForeignKey(User, on_delete=models.CASCADE)
    key = models.CharField(max_length=200)
    path = models.CharField(max_length=300)
    body_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.BinaryField(null=True)
    headers = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=wall_now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_once")]

    def __str__(self) -> str:
        return self.key


class Deletion(models.Model):
    """A record that is gone, so that a mirror can follow (``GET /{noun}/deleted?since=``)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    object_type = models.CharField(max_length=80)
    object_id = models.UUIDField()
    site_ref = models.UUIDField(null=True)
    use_case_ref = models.UUIDField(null=True)
    service_ref = models.UUIDField(null=True)
    deleted_at = models.DateTimeField(default=wall_now, db_index=True)

    access = (
        Access("devices.Site", "site_ref"),
        Access("usecases.UseCase", "use_case_ref"),
        Access("marketplace.Service", "service_ref"),
    )
    objects = PermittedQuerySet.as_manager()

    class Meta:
        ordering = ["deleted_at", "id"]

    def __str__(self) -> str:
        return f"{self.object_type} {self.object_id}"
