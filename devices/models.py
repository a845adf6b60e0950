"""What exists at the edge: sites, ISA-95 locations, assets, devices, channels, and how a device proves who it is."""

from __future__ import annotations

from math import isfinite
from typing import Any, ClassVar
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from devices import choices
from devices.domain.units import is_unit
from portal.core.access import Access, container_permissions
from portal.core.clock import moment_text
from portal.core.models import Entity, ExternallyKeyed, User
from portal.core.roles import SITE

code_validator = RegexValidator(
    r"^[a-z0-9][a-z0-9-]{0,38}$", _("Use small letters, digits and hyphens, starting with a letter or digit.")
)


def finite(value: float) -> None:
    if not isfinite(value):
        raise ValidationError(_("A number, neither infinite nor NaN."))


def known_zone(value: str) -> None:
    if value not in available_timezones():
        raise ValidationError(_("A zone such as Europe/Berlin or UTC."))


def known_unit(value: str) -> None:
    if not is_unit(value):
        raise ValidationError(
            _("A UCUM unit code such as Cel, mbar, mg/m3, %% or 1 for none; “%(value)s” is none.")
            % {"value": value[:20]}
        )


currency_validator = RegexValidator(r"^[A-Z]{3}$", _("Three capital letters, such as EUR."))


def externally_unique(name: str) -> models.UniqueConstraint:
    return models.UniqueConstraint(
        fields=["external_source", "external_id"],
        condition=~models.Q(external_id=""),
        name=f"{name}_external_key",
        violation_error_message=_("Another record has this key of that system."),
    )


class Site(Entity, ExternallyKeyed):
    """A plant. Container of grants: who may see or act on anything here."""

    code = models.CharField(_("code"), max_length=39, unique=True, validators=[code_validator])
    name = models.CharField(_("name"), max_length=120)
    kind = models.CharField(_("kind"), max_length=12, choices=choices.SiteKind.choices, default=choices.SiteKind.LIVE)
    description = models.TextField(_("description"), max_length=5000, blank=True)
    data_notice = models.CharField(
        _("data notice"),
        max_length=300,
        blank=True,
        help_text=_("Where the data comes from; shown on every page of it."),
    )
    time_zone = models.CharField(_("time zone"), max_length=60, default="UTC", validators=[known_zone])
    currency = models.CharField(_("currency"), max_length=3, default="EUR", validators=[currency_validator])
    landmarks = models.JSONField(
        _("landmarks of the replay"),
        default=list,
        blank=True,
        editable=False,
        help_text=_('Rows of the set worth a jump: [{"row": 21591, "label": "before the decay"}].'),
    )

    access: ClassVar[tuple[Access, ...]] = (Access(SITE, "pk"),)

    class Meta:
        ordering = ["name", "id"]
        permissions = container_permissions(SITE)
        constraints = [externally_unique("site")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("devices:site", args=[self.pk])


class SiteUserObjectPermission(UserObjectPermissionBase):
    content_object = models.ForeignKey(Site, on_delete=models.CASCADE)


class SiteGroupObjectPermission(GroupObjectPermissionBase):
    content_object = models.ForeignKey(Site, on_delete=models.CASCADE)


class PlantClock(models.Model):
    """Plant time of a site whose data is replayed. A live plant has none: there the two clocks are one."""

    site = models.OneToOneField(Site, primary_key=True, on_delete=models.CASCADE, related_name="plant_clock")
    state = models.CharField(max_length=10, choices=choices.ReplayState.choices, default=choices.ReplayState.PAUSED)
    plant_now = models.DateTimeField(_("plant time"))
    wall_at = models.DateTimeField(_("read at (wall time)"))
    rows_per_second = models.FloatField(_("pace"), default=4.0)
    rows_done = models.PositiveBigIntegerField(default=0)
    rows_total = models.PositiveBigIntegerField(default=0)
    nominal = models.BooleanField(
        _("nominal time"), default=False, help_text=_("The data has no time stamps; rows get nominal times.")
    )
    wanted = models.JSONField(default=dict, help_text=_("Pace or jump asked for, until the PLC reports it."))

    objects = models.Manager()

    class Meta:
        verbose_name = _("plant clock")

    def __str__(self) -> str:
        return f"{self.site}: {moment_text(self.plant_now)}"


class Location(Entity, ExternallyKeyed):
    """An ISA-95 place under a site: area, line, cell; nests in itself."""

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="locations")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    level = models.CharField(_("level"), max_length=8, choices=choices.LocationLevel.choices)
    code = models.CharField(_("code"), max_length=39, validators=[code_validator])
    name = models.CharField(_("name"), max_length=120)
    path = models.CharField(_("path"), max_length=300, editable=False, db_index=True, blank=True)

    access = (Access(SITE, "site_id"),)

    class Meta:
        ordering = ["path", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["site", "path"],
                name="location_path",
                violation_error_message=_("This place exists already at this site."),
            ),
            externally_unique("location"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("devices:location", args=[self.pk])

    def clean(self) -> None:
        order = [level for level, _label in choices.LocationLevel.choices]
        if self.parent is not None:
            if self.parent_id == self.pk:
                raise ValidationError({"parent": _("A place cannot be inside itself.")})
            if self.parent.site_id != self.site_id:
                raise ValidationError({"parent": _("The parent is at another site.")})
            if self.level in order and order.index(self.parent.level) > order.index(self.level):
                raise ValidationError({"level": _("A place cannot be inside a smaller one.")})
            seen = {self.pk}
            above: Location | None = self.parent
            while above is not None:
                if above.pk in seen:
                    raise ValidationError({"parent": _("These places would contain each other.")})
                seen.add(above.pk)
                above = above.parent
        self.path = f"{self.parent.path}/{self.code}" if self.parent else self.code


class Asset(Entity, ExternallyKeyed):
    """A machine at a location."""

    location = models.ForeignKey(Location, on_delete=models.PROTECT, related_name="assets")
    code = models.CharField(_("code"), max_length=39, validators=[code_validator])
    name = models.CharField(_("name"), max_length=120)
    kind = models.CharField(_("kind"), max_length=80, blank=True)
    manufacturer = models.CharField(_("manufacturer"), max_length=120, blank=True)
    serial = models.CharField(_("serial number"), max_length=120, blank=True)

    access = (Access(SITE, "location__site_id"),)

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["location", "code"],
                name="asset_code",
                violation_error_message=_("This code is taken at this place."),
            ),
            externally_unique("asset"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("devices:asset", args=[self.pk])


class DeviceType(Entity, ExternallyKeyed):
    """A make of device: what it speaks and what it can hold."""

    name = models.CharField(_("name"), max_length=120, unique=True)
    manufacturer = models.CharField(_("manufacturer"), max_length=120, blank=True)
    kind = models.CharField(_("kind"), max_length=12, choices=choices.DeviceKind.choices)
    protocol = models.CharField(_("protocol"), max_length=12, choices=choices.Protocol.choices)
    memory_kb = models.PositiveIntegerField(_("memory for models (KiB)"), null=True, blank=True)
    latency_budget_us = models.PositiveIntegerField(_("latency budget (µs per row)"), null=True, blank=True)
    standard = models.BooleanField(_("standard protocol"), default=True)

    access = (Access(None, everybody=("view",), everything="devices.add_site"),)

    class Meta:
        ordering = ["name", "id"]
        constraints = [externally_unique("device_type")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("devices:device-type", args=[self.pk])


class Device(Entity, ExternallyKeyed):
    """A gateway, PLC, sensor or controller, with its twin: what is wanted and what it reports."""

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="devices")
    location = models.ForeignKey(Location, null=True, blank=True, on_delete=models.PROTECT, related_name="devices")
    asset = models.ForeignKey(Asset, null=True, blank=True, on_delete=models.PROTECT, related_name="devices")
    device_type = models.ForeignKey(DeviceType, on_delete=models.PROTECT, related_name="devices")
    gateway = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="behind",
        help_text=_("The gateway that reads it."),
    )
    code = models.CharField(_("code"), max_length=39, validators=[code_validator])
    name = models.CharField(_("name"), max_length=120)
    serial = models.CharField(_("serial number"), max_length=120, blank=True)
    state = models.CharField(
        _("state"), max_length=8, choices=choices.DeviceState.choices, default=choices.DeviceState.PLANNED
    )
    address = models.JSONField(
        _("address"), default=dict, blank=True, help_text=_("How it is reached: host, port, unit.")
    )
    wanted = models.JSONField(_("wanted"), default=dict, blank=True)
    wanted_version = models.PositiveIntegerField(default=0, editable=False)
    actual = models.JSONField(_("actual"), default=dict, blank=True, editable=False)
    actual_version = models.PositiveIntegerField(default=0, editable=False)
    actual_at = models.DateTimeField(_("reported"), null=True, editable=False)
    last_seen_at = models.DateTimeField(_("last seen"), null=True, editable=False)
    report_every_s = models.PositiveIntegerField(
        _("reports every (s)"), default=10, validators=[MinValueValidator(1), MaxValueValidator(86_400)]
    )
    fallback = models.CharField(
        _("fallback when stopped"),
        max_length=10,
        choices=choices.Fallback.choices,
        default=choices.Fallback.LAST_GOOD,
        help_text=_("What goes on when the models on it are stopped."),
    )

    access = (Access(SITE, "site_id"),)

    class Meta:
        ordering = ["name", "id"]
        indexes = [models.Index(fields=["site", "state"])]
        constraints = [
            models.UniqueConstraint(
                fields=["site", "code"],
                name="device_code",
                violation_error_message=_("This code is taken at this site."),
            ),
            externally_unique("device"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("devices:device", args=[self.pk])

    @property
    def connectivity_label(self) -> str:
        """The word for the annotated ``connectivity`` (``selectors.with_connectivity``)."""
        return str(choices.Connectivity(getattr(self, "connectivity", choices.Connectivity.NEVER)).label)

    def clean(self) -> None:
        wrong: dict[str, Any] = {}
        if self.location is not None and self.location.site_id != self.site_id:
            wrong["location"] = _("This place is at another site.")
        if self.asset is not None and self.asset.location.site_id != self.site_id:
            wrong["asset"] = _("This asset is at another site.")
        if self.gateway is not None and (self.gateway.site_id != self.site_id or self.gateway_id == self.pk):
            wrong["gateway"] = _("Choose another device of the same site.")
        if wrong:
            raise ValidationError(wrong)


class Channel(Entity, ExternallyKeyed):
    """One measured signal of a device."""

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="channels")
    code = models.CharField(
        _("code"),
        max_length=40,
        validators=[
            RegexValidator(r"^[A-Za-z][A-Za-z0-9_]{0,39}$", _("Start with a letter; letters, digits, underscore."))
        ],
    )
    name = models.CharField(_("name"), max_length=120)
    role = models.CharField(
        _("role"), max_length=8, choices=choices.ChannelRole.choices, default=choices.ChannelRole.SIGNAL
    )
    unit = models.CharField(
        _("unit (UCUM)"),
        max_length=20,
        validators=[known_unit],
        help_text=_("UCUM code, such as Cel, mbar, mg/m3, %."),
    )
    range_low = models.FloatField(_("lowest plausible value"), null=True, blank=True, validators=[finite])
    range_high = models.FloatField(_("highest plausible value"), null=True, blank=True, validators=[finite])
    period_s = models.FloatField(_("sampling period (s, plant time)"), default=1.0, validators=[finite])
    source = models.JSONField(
        _("source"), default=dict, blank=True, help_text=_("Where the gateway reads it: register, type, scale.")
    )

    access = (Access(SITE, "device__site_id"),)

    class Meta:
        ordering = ["device", "code", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["device", "code"],
                name="channel_code",
                violation_error_message=_("This code is taken on this device."),
            ),
            models.CheckConstraint(
                condition=models.Q(range_low=None)
                | models.Q(range_high=None)
                | models.Q(range_low__lt=models.F("range_high")),
                name="channel_range",
                violation_error_message=_("The lowest value must be below the highest."),
            ),
            models.CheckConstraint(
                condition=models.Q(period_s__gt=0),
                name="channel_period",
                violation_error_message=_("The period must be above zero."),
            ),
            externally_unique("channel"),
        ]

    def __str__(self) -> str:
        return f"{self.code} ({self.unit})"

    def get_absolute_url(self) -> str:
        return f"{reverse('devices:device', args=[self.device_id])}?tab=twin#channel-{self.code}"


class SignalWindow(models.Model):
    """The newest rows of a gateway's stream for the live view: a bounded ring as packed arrays, so that an append costs
    microseconds. Not the record: the lake is. Read it through ``devices.live``."""

    device = models.OneToOneField(Device, primary_key=True, on_delete=models.CASCADE, related_name="signal_window")
    columns = models.JSONField(default=list, help_text=_("Channel codes, in the order of the values of a row."))
    models_run = models.JSONField(default=list, help_text=_("Names of the models whose predictions are kept."))
    times = models.BinaryField(default=bytes, help_text=_("Plant time of each row, int64 milliseconds since 1970."))
    values = models.BinaryField(default=bytes, help_text=_("float64, rows x columns; NaN is missing."))
    predicted = models.BinaryField(default=bytes, help_text=_("float64, rows x models; NaN is none."))
    received_at = models.DateTimeField()
    last_sequence = models.BigIntegerField(default=0)
    changes = models.PositiveBigIntegerField(default=0, help_text=_("Raised by each write: the live view's ETag."))

    objects = models.Manager()

    class Meta:
        verbose_name = _("signal window")

    def __str__(self) -> str:
        return f"{self.device_id}"


class Enrolment(Entity):
    """A claim code that lets one device fetch its credential once."""

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="enrolments")
    code_hash = models.CharField(max_length=64, unique=True, editable=False)
    code_hint = models.CharField(max_length=8, editable=False)
    expires_at = models.DateTimeField(_("expires"))
    used_at = models.DateTimeField(null=True, editable=False)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    access = (Access(SITE, "device__site_id", verbs=(("create", "enrol"), ("change", "enrol"))),)

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.device} ({self.code_hint}…)"


class Credential(Entity):
    """What a gateway signs in with. Only the token's SHA-256 is kept."""

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="credentials")
    enrolment = models.ForeignKey(
        Enrolment, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="credentials"
    )
    prefix = models.CharField(max_length=12, editable=False)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    state = models.CharField(
        max_length=8, choices=choices.CredentialState.choices, default=choices.CredentialState.ACTIVE
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    access = (Access(SITE, "device__site_id", verbs=(("change", "enrol"), ("revoke", "enrol"))),)

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.device} {self.prefix}…"


class MachineStop(Entity):
    """Somebody stopped the models on a machine, from the portal or on the gateway itself."""

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="stops")
    fallback = models.CharField(max_length=10, choices=choices.Fallback.choices, default=choices.Fallback.LAST_GOOD)
    reason = models.CharField(_("reason"), max_length=300)
    local = models.BooleanField(_("pressed on the gateway"), default=False)
    stopped_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    stopped_at = models.DateTimeField(_("stopped at"))
    confirmed_at = models.DateTimeField(_("confirmed by the gateway"), null=True, editable=False)
    released_at = models.DateTimeField(null=True, editable=False)
    released_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+", editable=False)

    access = (Access(SITE, "device__site_id", verbs=(("create", "stop"), ("release", "stop"))),)

    class Meta:
        ordering = ["-stopped_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["device"],
                condition=models.Q(released_at=None),
                name="one_open_stop",
                violation_error_message=_("This machine is stopped already."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.device}: {self.reason}"


class LinkHistory(models.Model):
    """One minute of a gateway's reports, for uptime: how many were expected and how many came."""

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="link_history")
    minute = models.DateTimeField()
    expected = models.PositiveSmallIntegerField(default=0)
    received = models.PositiveSmallIntegerField(default=0)
    inferring = models.PositiveSmallIntegerField(default=0, help_text=_("Reports that said inference was running."))

    objects = models.Manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["device", "minute"], name="link_minute")]

    def __str__(self) -> str:
        return f"{self.device} {self.minute:%H:%M}"
