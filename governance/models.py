"""Whether it can be trusted: models and versions, the lake's inbox, lineage, checks, drift, SLOs, alerts, incidents, retraining."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from devices.models import Channel, Device
from governance import choices
from governance.inbox import InboxMessage
from portal.core.access import Access
from portal.core.clock import day_text, moment_text
from portal.core.models import Entity, ExternallyKeyed, User
from portal.core.roles import SITE, USE_CASE
from usecases.models import Adoption, UseCase


class Model(Entity, ExternallyKeyed):
    """A model a use case runs, with its contract: inputs in order, target, budgets. Versions hang below it."""

    use_case = models.ForeignKey(UseCase, on_delete=models.PROTECT, related_name="models")
    code = models.SlugField(_("code"), max_length=60, unique=True)
    name = models.CharField(_("name"), max_length=140)
    kind = models.CharField(_("kind"), max_length=12, choices=choices.ModelKind.choices)
    features = models.JSONField(_("inputs in order"), default=list)
    target = models.CharField(_("target"), max_length=40, blank=True)
    unit = models.CharField(_("unit of the output"), max_length=20, blank=True)
    error_limit = models.FloatField(_("acceptable mean error"), null=True, blank=True)
    recipe = models.CharField(_("how it is trained"), max_length=60)
    registry_name = models.CharField(_("name in the model registry"), max_length=140, blank=True)
    standing_approval_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=_("standing approval by")
    )
    standing_approval_until = models.DateTimeField(_("standing approval until"), null=True, blank=True)
    standing_approval_basis = models.JSONField(default=dict, editable=False)

    access = (Access(USE_CASE, "use_case_id"),)

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("governance:model", args=[self.pk])


class ModelVersion(Entity):
    """One version as mirrored from the registry, with its package, metrics, quantisation report and signature."""

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(_("version"))
    state = models.CharField(
        max_length=12, choices=choices.VersionState.choices, default=choices.VersionState.CANDIDATE
    )
    registry_version = models.CharField(max_length=20, blank=True)
    registry_run_id = models.CharField(max_length=64, blank=True)
    quantisation = models.CharField(
        max_length=14, choices=choices.Quantisation.choices, default=choices.Quantisation.FP32
    )
    quantisation_report = models.JSONField(default=dict)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveBigIntegerField()
    manifest = models.TextField(_("canonical manifest"))
    signature = models.TextField(_("Ed25519 signature (base64)"), blank=True)
    signed_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    signed_at = models.DateTimeField(null=True)
    signing_basis = models.JSONField(default=dict)
    metrics = models.JSONField(default=dict)
    memory_kb = models.PositiveIntegerField(null=True)
    latency_us = models.FloatField(null=True)
    trained_from = models.DateTimeField(_("trained on data from (plant time)"), null=True)
    trained_to = models.DateTimeField(_("to (plant time)"), null=True)
    training_rows = models.PositiveIntegerField(default=0)
    training_fingerprint = models.CharField(max_length=64, blank=True)
    trained_at = models.DateTimeField(_("trained at (wall time)"))
    predecessor = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="successors")
    refusal = models.CharField(_("why it was refused"), max_length=300, blank=True)

    access = (Access(USE_CASE, "model__use_case_id"),)

    class Meta:
        ordering = ["model", "-number", "id"]
        constraints = [models.UniqueConstraint(fields=["model", "number"], name="model_version_number")]

    def __str__(self) -> str:
        return f"{self.model} v{self.number}"

    def get_absolute_url(self) -> str:
        return reverse("governance:model-version", args=[self.pk])


class Pipeline(Entity, ExternallyKeyed):
    """From a gateway's channels to a model's prediction, for one adoption."""

    adoption = models.ForeignKey(Adoption, on_delete=models.PROTECT, related_name="pipelines")
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="pipelines")
    name = models.CharField(_("name"), max_length=140)
    stream = models.CharField(_("stream"), max_length=40)
    expected_period_s = models.FloatField(_("one row every (s, plant time)"), default=3600.0)
    owner = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=_("data owner")
    )
    policy_state = models.JSONField(
        default=dict, editable=False, help_text=_("State of the drift and retraining policy after the newest batch.")
    )
    reference = models.JSONField(default=dict, editable=False)

    access = (
        Access(SITE, "adoption__site_id", verbs=(("commission", "operate"), ("retrain", "operate"))),
        Access(USE_CASE, "adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["adoption", "stream", "model"], name="pipeline_stream")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("governance:pipeline", args=[self.pk])


class Stage(Entity):
    """A step of a pipeline; each has checks."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="stages")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=12, choices=choices.StageKind.choices)
    name = models.CharField(max_length=120)
    channels = models.ManyToManyField(Channel, blank=True, related_name="stages")

    access = (
        Access(SITE, "pipeline__adoption__site_id"),
        Access(USE_CASE, "pipeline__adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["pipeline", "position", "id"]
        constraints = [models.UniqueConstraint(fields=["pipeline", "kind"], name="stage_kind")]

    def __str__(self) -> str:
        return self.name


class Dataset(Entity):
    """A table of the lake that a stage writes: name, columns, and where its newest version lies."""

    stage = models.OneToOneField(Stage, on_delete=models.CASCADE, related_name="dataset")
    name = models.CharField(max_length=140, unique=True)
    columns = models.JSONField(default=list)
    uri = models.CharField(max_length=300)
    delta_version = models.BigIntegerField(null=True)
    rows = models.PositiveBigIntegerField(default=0)

    access = (
        Access(SITE, "stage__pipeline__adoption__site_id"),
        Access(USE_CASE, "stage__pipeline__adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class Batch(Entity):
    """Some rows at one stage of a pipeline; ``inputs`` is the lineage, from the channel's batch to the prediction's."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="batches")
    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="batches")
    gateway = models.ForeignKey(Device, null=True, on_delete=models.PROTECT, related_name="batches")
    sequence = models.BigIntegerField()
    rows = models.PositiveIntegerField()
    rows_refused = models.PositiveIntegerField(default=0)
    plant_from = models.DateTimeField()
    plant_to = models.DateTimeField()
    received_at = models.DateTimeField()
    sha256 = models.CharField(max_length=64)
    model_version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="batches")
    inputs = models.ManyToManyField("self", symmetrical=False, related_name="outputs")
    inbox = models.ForeignKey(InboxMessage, null=True, on_delete=models.SET_NULL, related_name="batches")

    access = (
        Access(SITE, "pipeline__adoption__site_id"),
        Access(USE_CASE, "pipeline__adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["-plant_to", "id"]
        verbose_name_plural = _("batches")
        constraints = [
            models.UniqueConstraint(fields=["stage", "gateway", "sequence"], name="batch_once"),
            models.UniqueConstraint(
                fields=["stage", "sequence"], condition=models.Q(gateway=None), name="batch_once_derived"
            ),
        ]
        indexes = [models.Index(fields=["pipeline", "plant_to"])]

    def __str__(self) -> str:
        return f"{self.stage} {moment_text(self.plant_from)}"

    def get_absolute_url(self) -> str:
        return reverse("governance:batch", args=[self.pk])


class Check(Entity):
    """A rule that every batch of a stage must pass."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="checks")
    kind = models.CharField(max_length=10, choices=choices.CheckKind.choices)
    name = models.CharField(max_length=140)
    config = models.JSONField(default=dict, blank=True)
    max_failed_share = models.FloatField(
        _("tolerated share of bad rows"), default=0.0, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)]
    )
    enabled = models.BooleanField(default=True)

    access = (
        Access(SITE, "stage__pipeline__adoption__site_id"),
        Access(USE_CASE, "stage__pipeline__adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["stage", "kind", "id"]
        constraints = [models.UniqueConstraint(fields=["stage", "kind"], name="check_kind")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("governance:check", args=[self.pk])


class CheckResult(Entity):
    stage_check = models.ForeignKey(Check, on_delete=models.CASCADE, related_name="results")
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="check_results")
    state = models.CharField(max_length=8, choices=choices.CheckState.choices)
    failed_rows = models.PositiveIntegerField(default=0)
    text = models.CharField(max_length=300, blank=True)
    detail = models.JSONField(default=dict)
    plant_at = models.DateTimeField(null=True)

    access = (
        Access(SITE, "batch__pipeline__adoption__site_id"),
        Access(USE_CASE, "batch__pipeline__adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [models.UniqueConstraint(fields=["stage_check", "batch"], name="check_result_once")]
        indexes = [
            models.Index(fields=["state", "-created_at"]),
            models.Index(fields=["stage_check", "-plant_at", "-created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.stage_check}: {self.state}"


class DriftReport(Entity):
    """One comparison of a stretch of plant time with its reference."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="drift_reports")
    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="drift_reports")
    kind = models.CharField(max_length=8, choices=choices.DriftKind.choices)
    batch = models.ForeignKey(
        Batch,
        null=True,
        on_delete=models.SET_NULL,
        related_name="drift_reports",
        help_text=_("The newest batch of the stretch."),
    )
    rows = models.PositiveIntegerField()
    plant_from = models.DateTimeField()
    plant_to = models.DateTimeField()
    value = models.FloatField(null=True)
    limit = models.FloatField(null=True)
    drifted = models.BooleanField(default=False)
    measured = models.BooleanField(default=True)
    reason = models.CharField(max_length=300, blank=True)
    features = models.JSONField(
        default=list, help_text=_("Per feature: statistics, limits, verdict, most affected first.")
    )

    access = (
        Access(SITE, "pipeline__adoption__site_id"),
        Access(USE_CASE, "pipeline__adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["-plant_to", "id"]
        constraints = [models.UniqueConstraint(fields=["stage", "kind", "plant_to"], name="drift_once")]
        indexes = [models.Index(fields=["pipeline", "kind", "plant_to"])]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {day_text(self.plant_from)}"

    def get_absolute_url(self) -> str:
        return reverse("governance:drift-report", args=[self.pk])


class Slo(Entity, ExternallyKeyed):
    """A service level objective with two owners: an OT engineer and a data scientist."""

    adoption = models.ForeignKey(Adoption, on_delete=models.CASCADE, related_name="slos")
    kind = models.CharField(max_length=18, choices=choices.SloKind.choices)
    name = models.CharField(max_length=140)
    target = models.FloatField(
        _("target share of good events"), validators=[MinValueValidator(0.5), MaxValueValidator(0.99999)]
    )
    limit_seconds = models.FloatField(_("good when within (s, wall time)"), null=True, blank=True)
    window_days = models.PositiveSmallIntegerField(
        _("window (days)"), default=30, validators=[MinValueValidator(1), MaxValueValidator(400)]
    )
    minimum_events = models.PositiveIntegerField(_("fewest events to judge"), default=1)
    ot_owner = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=_("OT owner")
    )
    ds_owner = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=_("data science owner")
    )

    access = (
        Access(SITE, "adoption__site_id", verbs=(("change", "operate"), ("create", "operate"))),
        Access(USE_CASE, "adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["adoption", "kind"], name="slo_kind")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("governance:slo", args=[self.pk])


class SloEvent(models.Model):
    """Good and bad events of an SLO in a stretch of wall time, append-only."""

    slo = models.ForeignKey(Slo, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    good = models.PositiveIntegerField(default=0)
    bad = models.PositiveIntegerField(default=0)
    source = models.CharField(max_length=80)

    objects = models.Manager()

    class Meta:
        ordering = ["at"]
        constraints = [models.UniqueConstraint(fields=["slo", "source"], name="slo_event_once")]
        indexes = [models.Index(fields=["slo", "at"])]

    def __str__(self) -> str:
        return f"{self.slo} {self.at}"


class Incident(Entity):
    """Something broke, from first sign to repaired; each step carries both clocks."""

    adoption = models.ForeignKey(Adoption, on_delete=models.PROTECT, related_name="incidents")
    pipeline = models.ForeignKey(Pipeline, null=True, on_delete=models.PROTECT, related_name="incidents")
    title = models.CharField(max_length=200)
    cause = models.CharField(max_length=300, blank=True)
    state = models.CharField(max_length=10, choices=choices.IncidentState.choices, default=choices.IncidentState.OPEN)
    began_plant_at = models.DateTimeField(_("began (plant time)"))
    detected_plant_at = models.DateTimeField(_("detected (plant time)"))
    opened_at = models.DateTimeField(_("opened (wall time)"))
    live_at = models.DateTimeField(_("new version live (wall time)"), null=True)
    resolved_at = models.DateTimeField(_("resolved (wall time)"), null=True)
    resolved_plant_at = models.DateTimeField(_("recovered (plant time)"), null=True)
    fast_forwarded = models.BooleanField(
        default=False,
        help_text=_("Happened while history was replayed at speed; its wall-clock durations are of the replay."),
    )
    acknowledged_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    acknowledged_at = models.DateTimeField(null=True)

    access = (
        Access(SITE, "adoption__site_id", verbs=(("acknowledge", "operate"), ("change", "operate"))),
        Access(USE_CASE, "adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["-opened_at", "id"]
        indexes = [models.Index(fields=["state", "-opened_at"])]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("governance:incident", args=[self.pk])


class IncidentStep(models.Model):
    """One line of an incident's timeline."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="steps")
    key = models.CharField(max_length=40)
    text = models.CharField(max_length=300)
    wall_at = models.DateTimeField()
    plant_at = models.DateTimeField(null=True)
    link = models.CharField(max_length=300, blank=True)
    detail = models.JSONField(default=dict)

    objects = models.Manager()

    class Meta:
        ordering = ["wall_at", "id"]

    def __str__(self) -> str:
        return self.text


class Alert(Entity):
    """A rule fired on a pipeline. It stays open until the measure is back within its limit."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="alerts")
    incident = models.ForeignKey(Incident, null=True, on_delete=models.SET_NULL, related_name="alerts")
    kind = models.CharField(max_length=8, choices=choices.AlertKind.choices)
    state = models.CharField(max_length=6, choices=choices.AlertState.choices, default=choices.AlertState.OPEN)
    report = models.ForeignKey(DriftReport, null=True, on_delete=models.SET_NULL, related_name="alerts")
    value = models.FloatField()
    limit = models.FloatField()
    opened_at = models.DateTimeField(_("opened (wall time)"))
    opened_plant_at = models.DateTimeField(_("opened (plant time)"))
    closed_at = models.DateTimeField(null=True)
    closed_plant_at = models.DateTimeField(null=True)

    access = (
        Access(SITE, "pipeline__adoption__site_id"),
        Access(USE_CASE, "pipeline__adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["-opened_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["pipeline", "kind"], condition=models.Q(state="open"), name="one_open_alert"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} on {self.pipeline}"


class Retraining(Entity):
    """One run of the retraining loop, each step timed in wall time."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="retrainings")
    incident = models.ForeignKey(Incident, null=True, on_delete=models.SET_NULL, related_name="retrainings")
    alert = models.ForeignKey(Alert, null=True, on_delete=models.SET_NULL, related_name="retrainings")
    state = models.CharField(
        max_length=12, choices=choices.RetrainingState.choices, default=choices.RetrainingState.QUEUED
    )
    trigger = models.CharField(
        _("asked for by"), max_length=9, choices=choices.RetrainingTrigger.choices, default="alert"
    )
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    requested_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    due_row = models.BigIntegerField(_("row at which it was due"))
    train_from = models.DateTimeField(_("trained on rows from (plant time)"), null=True)
    train_to = models.DateTimeField(_("to (plant time)"), null=True)
    train_rows = models.PositiveIntegerField(default=0)
    incumbent = models.ForeignKey(ModelVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    challenger = models.ForeignKey(ModelVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    comparison = models.JSONField(default=dict, help_text=_("Incumbent and challenger on the held-out recent rows."))
    steps = models.JSONField(default=list, help_text=_("Name, started and ended (wall time) of each step."))
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)
    fast_forwarded = models.BooleanField(default=False)

    access = (
        Access(SITE, "pipeline__adoption__site_id", verbs=(("create", "operate"), ("change", "operate"))),
        Access(USE_CASE, "pipeline__adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["pipeline", "due_row"], condition=models.Q(trigger="alert"), name="retraining_once"
            )
        ]

    def __str__(self) -> str:
        return f"Retraining of {self.pipeline} at row {self.due_row}"

    def get_absolute_url(self) -> str:
        return reverse("governance:retraining", args=[self.pk])
