"""How it gets there: what is installed where, rollouts in waves, and the health of every connection."""

from __future__ import annotations

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from devices.choices import Fallback
from devices.models import Device
from edge_bridge import choices
from governance.models import Incident, ModelVersion, Retraining
from portal.core.access import Access
from portal.core.models import Entity, User
from portal.core.roles import SITE, USE_CASE
from usecases.models import Adoption


class Installation(Entity):
    """A model version on a gateway: wanted, reported active, or refused; with the fallback declared for it."""

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="installations")
    adoption = models.ForeignKey(Adoption, on_delete=models.PROTECT, related_name="installations")
    version_of_model = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="installations")
    state = models.CharField(
        max_length=12, choices=choices.InstallationState.choices, default=choices.InstallationState.WANTED
    )
    fallback = models.CharField(max_length=10, choices=Fallback.choices, default=Fallback.LAST_GOOD)
    shadow = models.BooleanField(
        _("beside the running version"),
        default=False,
        help_text=_("Computes the same rows as the version in force; its predictions are only compared."),
    )
    rollout = models.ForeignKey(
        "Rollout", null=True, editable=False, on_delete=models.SET_NULL, related_name="installations"
    )
    reason = models.CharField(max_length=300, blank=True)
    wanted_at = models.DateTimeField()
    active_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    predicts_from_plant = models.DateTimeField(_("first row predicted (plant time)"), null=True, editable=False)

    access = (
        Access(SITE, "device__site_id", verbs=(("change", "operate"),)),
        Access(USE_CASE, "adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["-wanted_at", "id"]
        indexes = [models.Index(fields=["device", "state"])]

    def __str__(self) -> str:
        return f"{self.version_of_model} on {self.device}"

    @property
    def tone(self) -> str:
        return choices.tone(self.state)

    def get_absolute_url(self) -> str:
        return f"{self.device.get_absolute_url()}#installations"


class Rollout(Entity):
    """A model version on its way to the gateways of an adoption: canary first, then the rest."""

    adoption = models.ForeignKey(Adoption, on_delete=models.PROTECT, related_name="rollouts")
    version_of_model = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="rollouts")
    previous = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="+")
    incident = models.ForeignKey(Incident, null=True, on_delete=models.SET_NULL, related_name="rollouts")
    retraining = models.ForeignKey(Retraining, null=True, on_delete=models.SET_NULL, related_name="rollouts")
    state = models.CharField(max_length=12, choices=choices.RolloutState.choices, default=choices.RolloutState.WAITING)
    soak_rows = models.PositiveIntegerField(_("rows to watch the canary"), default=24)
    worst_error_ratio = models.FloatField(_("canary error may be at most this times the old version's"), default=1.1)
    started_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=300, blank=True)

    access = (
        Access(SITE, "adoption__site_id", verbs=(("create", "operate"), ("change", "operate"), ("stop", "operate"))),
        Access(USE_CASE, "adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"Rollout of {self.version_of_model}"

    @property
    def tone(self) -> str:
        return choices.tone(self.state)

    def get_absolute_url(self) -> str:
        return reverse("edge_bridge:rollout", args=[self.pk])


class Wave(Entity):
    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="waves")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=80)
    state = models.CharField(max_length=8, choices=choices.WaveState.choices, default=choices.WaveState.PENDING)
    gate = models.JSONField(_("decision record"), default=dict)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    access = (
        Access(SITE, "rollout__adoption__site_id"),
        Access(USE_CASE, "rollout__adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["rollout", "position", "id"]
        constraints = [models.UniqueConstraint(fields=["rollout", "position"], name="wave_position")]

    def __str__(self) -> str:
        return self.name

    @property
    def tone(self) -> str:
        return choices.tone(self.state)


class WaveTarget(Entity):
    wave = models.ForeignKey(Wave, on_delete=models.CASCADE, related_name="targets")
    device = models.ForeignKey(Device, on_delete=models.PROTECT, related_name="wave_targets")
    state = models.CharField(max_length=10, choices=choices.TargetState.choices, default=choices.TargetState.PENDING)
    reason = models.CharField(max_length=300, blank=True)

    access = (Access(SITE, "device__site_id"),)

    class Meta:
        ordering = ["wave", "device", "id"]
        constraints = [models.UniqueConstraint(fields=["wave", "device"], name="wave_target_once")]

    def __str__(self) -> str:
        return f"{self.device}: {self.state}"

    @property
    def tone(self) -> str:
        return choices.tone(self.state)


class GatewayState(models.Model):
    """What the bridge keeps of a gateway beside its twin: the digest of what is wanted of it, so that a change anywhere (a
    channel's range, an address) is noticed, and the password hash a broker checks."""

    device = models.OneToOneField(Device, primary_key=True, on_delete=models.CASCADE, related_name="gateway_state")
    desired_digest = models.CharField(max_length=64, blank=True)
    broker_hash = models.CharField(max_length=200, blank=True)
    problem = models.CharField(_("why nothing can be wanted of it"), max_length=300, blank=True)

    objects = models.Manager()

    class Meta:
        verbose_name = _("gateway state")

    def __str__(self) -> str:
        return f"{self.device_id}"


class Connection(Entity):
    """An outside end and how it fares, for the connections page."""

    kind = models.CharField(max_length=10, choices=choices.ConnectionKind.choices, unique=True)
    target = models.CharField(max_length=200, blank=True)
    ok = models.BooleanField(null=True)
    detail = models.CharField(max_length=300, blank=True)
    checked_at = models.DateTimeField(null=True)
    last_ok_at = models.DateTimeField(null=True)

    access = (Access(None, everybody=("view",)),)

    class Meta:
        ordering = ["kind", "id"]

    def __str__(self) -> str:
        return self.get_kind_display()
