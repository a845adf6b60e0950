"""What it earns: services made of proven use cases, plans, subscriptions, keys, usage events and invoices. Money is integer minor units."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from devices.models import code_validator
from governance.models import Model
from marketplace import choices
from portal.core.access import Access, container_permissions
from portal.core.clock import moment_text
from portal.core.models import Entity, User
from portal.core.roles import SERVICE, USE_CASE
from usecases.models import UseCase


class Service(Entity):
    """A proven model as an API product. Container of grants."""

    use_case = models.ForeignKey(UseCase, on_delete=models.PROTECT, related_name="services")
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="services")
    code = models.CharField(_("code"), max_length=39, unique=True, validators=[code_validator])
    name = models.CharField(_("name"), max_length=140)
    summary = models.TextField(_("summary"), max_length=5000, blank=True)
    state = models.CharField(max_length=10, choices=choices.ServiceState.choices, default=choices.ServiceState.DRAFT)
    sla_text = models.TextField(_("service level"), max_length=5000, blank=True)
    openapi = models.JSONField(_("OpenAPI document"), default=dict, editable=False)
    published_at = models.DateTimeField(null=True, editable=False)

    access: ClassVar[tuple[Access, ...]] = (Access(SERVICE, "pk"), Access(USE_CASE, "use_case_id", only=("view",)))

    class Meta:
        ordering = ["name", "id"]
        permissions = container_permissions(SERVICE)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("marketplace:service", args=[self.pk])


class ServiceUserObjectPermission(UserObjectPermissionBase):
    content_object = models.ForeignKey(Service, on_delete=models.CASCADE)


class ServiceGroupObjectPermission(GroupObjectPermissionBase):
    content_object = models.ForeignKey(Service, on_delete=models.CASCADE)


class Plan(Entity):
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="plans")
    name = models.CharField(max_length=80)
    currency = models.CharField(max_length=3, default="EUR")
    monthly_fee_minor = models.PositiveBigIntegerField(_("monthly fee (minor units)"), default=0)
    included_units = models.PositiveBigIntegerField(_("rows included a month"), default=0)
    unit_price_micro = models.PositiveBigIntegerField(_("price per row (millionths of the minor unit)"), default=0)
    monthly_quota = models.PositiveBigIntegerField(_("most rows a month"), validators=[MinValueValidator(1)])
    rate_per_minute = models.PositiveIntegerField(
        _("most calls a minute"), default=600, validators=[MinValueValidator(1)]
    )

    access = (Access(SERVICE, "service_id"), Access(USE_CASE, "service__use_case_id", only=("view",)))

    class Meta:
        ordering = ["service", "name", "id"]
        constraints = [models.UniqueConstraint(fields=["service", "name"], name="plan_name")]

    def __str__(self) -> str:
        return self.name


class Subscription(Entity):
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="subscriptions")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="subscriptions")
    customer = models.CharField(_("customer"), max_length=140)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="subscriptions")
    state = models.CharField(
        max_length=10, choices=choices.SubscriptionState.choices, default=choices.SubscriptionState.ACTIVE
    )
    internal = models.BooleanField(
        _("internal test"), default=False, help_text=_("Proves the metering before anybody pays; never invoiced.")
    )
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, editable=False)
    period = models.CharField(_("month being metered"), max_length=7, blank=True, editable=False)
    used_in_period = models.PositiveBigIntegerField(default=0, editable=False)
    rate_minute = models.BigIntegerField(_("minute being counted"), default=0, editable=False)
    rate_used = models.PositiveIntegerField(default=0, editable=False)

    access = (Access(None, own="owner_id"), Access(SERVICE, "service_id", verbs=(("view", "change"),)))

    class Meta:
        ordering = ["customer", "id"]

    def __str__(self) -> str:
        return f"{self.customer}: {self.service}"

    def get_absolute_url(self) -> str:
        return reverse("marketplace:subscription", args=[self.pk])


class ClientKey(Entity):
    """What a customer's program calls with. Only its SHA-256 is kept."""

    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, editable=False)
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    access = (
        Access(None, own="subscription__owner_id"),
        Access(SERVICE, "subscription__service_id", verbs=(("view", "change"),)),
    )

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class UsageEvent(Entity):
    """One metered call; unique on source and event id for ever, so a repeat is never billed twice."""

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="usage_events")
    key = models.ForeignKey(ClientKey, null=True, on_delete=models.SET_NULL, related_name="usage_events")
    source = models.CharField(max_length=120)
    event_id = models.CharField(max_length=120)
    time = models.DateTimeField()
    units = models.PositiveIntegerField(_("rows scored"))
    rows_refused = models.PositiveIntegerField(_("rows refused (not billed)"), default=0)
    model_version_ref = models.UUIDField(null=True)
    invoice = models.ForeignKey("Invoice", null=True, on_delete=models.PROTECT, related_name="events")

    access = (
        Access(None, own="subscription__owner_id", only=("view",)),
        Access(SERVICE, "subscription__service_id", verbs=(("view", "change"),)),
    )

    class Meta:
        ordering = ["-time", "id"]
        constraints = [models.UniqueConstraint(fields=["source", "event_id"], name="usage_once")]
        indexes = [models.Index(fields=["subscription", "time"]), models.Index(fields=["subscription", "invoice"])]

    def __str__(self) -> str:
        return f"{self.subscription} {moment_text(self.time, seconds=True)}"


class Invoice(Entity):
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="invoices")
    number = models.CharField(max_length=40, unique=True)
    period = models.CharField(_("month"), max_length=7)
    currency = models.CharField(max_length=3)
    state = models.CharField(max_length=8, choices=choices.InvoiceState.choices, default=choices.InvoiceState.DRAFT)
    total_minor = models.BigIntegerField(default=0)
    issued_at = models.DateTimeField(null=True, editable=False)
    paid_at = models.DateTimeField(null=True, editable=False)

    access = (
        Access(None, own="subscription__owner_id", only=("view",)),
        Access(SERVICE, "subscription__service_id", verbs=(("view", "change"),)),
    )

    class Meta:
        ordering = ["-period", "id"]
        constraints = [models.UniqueConstraint(fields=["subscription", "period"], name="invoice_once")]

    def __str__(self) -> str:
        return self.number

    def get_absolute_url(self) -> str:
        return reverse("marketplace:invoice", args=[self.pk])


class InvoiceLine(Entity):
    """One printed line. ``key`` is the line's name in the calculation, ``period`` the month its units were used in."""

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines")
    position = models.PositiveSmallIntegerField()
    key = models.CharField(max_length=80)
    kind = models.CharField(max_length=10, choices=choices.LineKind.choices)
    meter = models.CharField(max_length=20, blank=True)
    period = models.CharField(_("month"), max_length=7)
    description = models.CharField(max_length=200)
    units = models.BigIntegerField(default=0)
    unit_price_micro = models.BigIntegerField(default=0)
    amount_minor = models.BigIntegerField()

    access = (
        Access(None, own="invoice__subscription__owner_id", only=("view",)),
        Access(SERVICE, "invoice__subscription__service_id", verbs=(("view", "change"),)),
    )

    class Meta:
        ordering = ["invoice", "position", "id"]
        constraints = [models.UniqueConstraint(fields=["invoice", "key"], name="invoice_line_key")]

    def __str__(self) -> str:
        return self.description


class Allocation(models.Model):
    """How many of one event's units stand on one line; an event may straddle several."""

    id = models.BigAutoField(primary_key=True)
    line = models.ForeignKey(InvoiceLine, on_delete=models.CASCADE, related_name="allocations")
    event = models.ForeignKey(UsageEvent, on_delete=models.PROTECT, related_name="allocations")
    units = models.PositiveIntegerField()

    objects = models.Manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["line", "event"], name="allocation_once")]

    def __str__(self) -> str:
        return f"{self.event_id}: {self.units}"
