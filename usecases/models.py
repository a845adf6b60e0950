"""Why we do it: use cases, outcomes, scoring, business cases, adoptions, gates and the evidence they are decided on."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from devices.models import Device, Location, Site, code_validator, externally_unique
from portal.core.access import Access, container_permissions
from portal.core.clock import day_text
from portal.core.models import Entity, ExternallyKeyed, User
from portal.core.roles import SITE, USE_CASE
from usecases import choices
from usecases.criteria import CriteriaSet, Criterion


class UseCase(Entity, ExternallyKeyed):
    """An AIoT use case on its way through the five phases. Container of grants."""

    code = models.CharField(_("code"), max_length=39, unique=True, validators=[code_validator])
    title = models.CharField(_("title"), max_length=140)
    summary = models.TextField(_("summary"), max_length=5000, blank=True)
    label = models.CharField(_("label"), max_length=12, choices=choices.Label.choices, default=choices.Label.UNLABELLED)
    state = models.CharField(
        _("state"), max_length=10, choices=choices.UseCaseState.choices, default=choices.UseCaseState.ACTIVE
    )
    phase = models.PositiveSmallIntegerField(_("phase"), choices=choices.Phase.choices, default=choices.Phase.ALIGN)
    sponsor = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="sponsored")
    owner = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="owned_use_cases")
    pursue_monetisation = models.BooleanField(_("pursue phase 5"), default=True)
    depends_on = models.ManyToManyField(
        "self", symmetrical=False, blank=True, related_name="enables", verbose_name=_("depends on")
    )
    required_signals = models.JSONField(
        _("required signals"), default=list, blank=True, help_text=_("Channel codes the model needs.")
    )

    access: ClassVar[tuple[Access, ...]] = (Access(USE_CASE, "pk"),)

    class Meta:
        ordering = ["title", "id"]
        permissions = container_permissions(USE_CASE)
        constraints = [externally_unique("use_case")]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("usecases:use-case", args=[self.pk])


class UseCaseUserObjectPermission(UserObjectPermissionBase):
    content_object = models.ForeignKey(UseCase, on_delete=models.CASCADE)


class UseCaseGroupObjectPermission(GroupObjectPermissionBase):
    content_object = models.ForeignKey(UseCase, on_delete=models.CASCADE)


class Outcome(Entity, ExternallyKeyed):
    """A business KPI that the use case is to move: baseline, target and what a unit of it is worth."""

    use_case = models.ForeignKey(UseCase, on_delete=models.CASCADE, related_name="outcomes")
    kpi = models.CharField(_("KPI"), max_length=140)
    unit = models.CharField(_("unit"), max_length=40)
    direction = models.CharField(_("direction"), max_length=4, choices=choices.Direction.choices)
    exposure_unit = models.CharField(_("exposure unit"), max_length=40, default="operating hours")
    baseline_from = models.DateField(_("baseline from (plant time)"), null=True, blank=True)
    baseline_to = models.DateField(_("baseline to (plant time)"), null=True, blank=True)
    baseline_frozen_at = models.DateTimeField(null=True, editable=False)
    baseline_value = models.FloatField(_("baseline value per exposure"), null=True, blank=True)
    baseline_exposure = models.FloatField(_("baseline exposure"), null=True, blank=True)
    target_value = models.FloatField(_("target value per exposure"), null=True, blank=True)
    target_by = models.DateField(_("target by"), null=True, blank=True)
    value_per_unit = models.DecimalField(_("worth per unit"), max_digits=14, decimal_places=2, null=True, blank=True)
    currency = models.CharField(max_length=3, default="EUR")
    assumption = models.CharField(
        _("assumption"), max_length=300, blank=True, help_text=_("What this worth rests on when no data contains it.")
    )
    provider_key = models.CharField(_("computed by"), max_length=80, blank=True)

    access = (Access(USE_CASE, "use_case_id"),)

    class Meta:
        ordering = ["kpi", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(baseline_from=None)
                | models.Q(baseline_to=None)
                | models.Q(baseline_from__lt=models.F("baseline_to")),
                name="outcome_baseline_window",
                violation_error_message=_("The baseline must begin before it ends."),
            ),
            externally_unique("outcome"),
        ]

    def __str__(self) -> str:
        return self.kpi

    def get_absolute_url(self) -> str:
        return reverse("usecases:use-case", args=[self.use_case_id])


class KpiReading(Entity):
    """The KPI over one period at one site, with its exposure."""

    outcome = models.ForeignKey(Outcome, on_delete=models.CASCADE, related_name="readings")
    site = models.ForeignKey(Site, null=True, blank=True, on_delete=models.PROTECT, related_name="kpi_readings")
    period_from = models.DateTimeField(_("from (plant time)"))
    period_to = models.DateTimeField(_("to (plant time)"))
    value = models.FloatField(_("value"), help_text=_("Total over the period, in the KPI's unit."))
    exposure = models.FloatField(_("exposure"), validators=[MinValueValidator(0.0)])
    source = models.CharField(max_length=10, choices=choices.KpiSource.choices, default=choices.KpiSource.FORM)
    note = models.CharField(max_length=300, blank=True)

    access = (Access(USE_CASE, "outcome__use_case_id"),)

    class Meta:
        ordering = ["period_from", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["outcome", "site", "period_from"],
                name="kpi_period_once",
                violation_error_message=_("There is a reading for this period already."),
            ),
            models.UniqueConstraint(
                fields=["outcome", "period_from"],
                condition=models.Q(site=None),
                name="kpi_period_once_all",
                violation_error_message=_("There is a reading for this period already."),
            ),
            models.CheckConstraint(
                condition=models.Q(period_from__lt=models.F("period_to")),
                name="kpi_period",
                violation_error_message=_("The period must begin before it ends."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.outcome} {day_text(self.period_from)}"


class ScoringRound(Entity):
    """Several people rate several use cases with one version of the criteria."""

    title = models.CharField(_("title"), max_length=140)
    criteria_set = models.ForeignKey(CriteriaSet, on_delete=models.PROTECT, related_name="rounds")
    use_cases = models.ManyToManyField(UseCase, related_name="rounds", verbose_name=_("use cases"))
    raters = models.ManyToManyField(User, related_name="rounds", verbose_name=_("raters"))
    facilitator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="facilitated_rounds")
    state = models.CharField(max_length=6, choices=choices.RoundState.choices, default=choices.RoundState.OPEN)
    closed_at = models.DateTimeField(null=True, editable=False)
    result = models.JSONField(default=dict, editable=False)

    access = (
        Access(None, own="facilitator_id"),
        Access(None, own="raters", only=("view", "rate")),
        Access(USE_CASE, "use_cases", only=("view", "rate")),
    )

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("usecases:round", args=[self.pk])


class Rating(Entity):
    """One person's rating of one use case on one sub-criterion; no value means "I don't know"."""

    round = models.ForeignKey(ScoringRound, on_delete=models.CASCADE, related_name="ratings")
    use_case = models.ForeignKey(UseCase, on_delete=models.CASCADE, related_name="ratings")
    criterion = models.ForeignKey(Criterion, on_delete=models.PROTECT, related_name="ratings")
    rater = models.ForeignKey(User, on_delete=models.PROTECT, related_name="ratings")
    rater_role = models.CharField(max_length=40, blank=True)
    value = models.FloatField(
        _("rating"), null=True, blank=True, validators=[MinValueValidator(0.0), MaxValueValidator(5.0)]
    )
    comment = models.CharField(_("comment"), max_length=500, blank=True)

    access = (Access(None, own="rater_id"), Access(USE_CASE, "use_case_id", only=("view",)))

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["round", "use_case", "criterion", "rater"], name="rating_once")]

    def __str__(self) -> str:
        return f"{self.rater}: {self.criterion} = {self.value}"


class BusinessCase(Entity):
    """What the use case costs and brings per quarter. One living case per use case; a gate freezes the version it read."""

    use_case = models.OneToOneField(UseCase, on_delete=models.CASCADE, related_name="business_case")
    currency = models.CharField(max_length=3, default="EUR")
    discount_rate = models.FloatField(
        _("discount rate per year"), default=0.08, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)]
    )
    quarters = models.PositiveSmallIntegerField(
        _("horizon (quarters)"), default=12, validators=[MinValueValidator(1), MaxValueValidator(80)]
    )
    start = models.DateField(_("first quarter begins"))
    assumption = models.TextField(
        _("assumptions"),
        max_length=5000,
        help_text=_("Money that no data contains is a labelled assumption: say whose and why."),
    )
    result = models.JSONField(default=dict, editable=False)
    computed_at = models.DateTimeField(null=True, editable=False)

    access = (Access(USE_CASE, "use_case_id"),)

    class Meta:
        ordering = ["use_case", "id"]

    def __str__(self) -> str:
        return f"Business case of {self.use_case}"

    def get_absolute_url(self) -> str:
        return reverse("usecases:business-case", args=[self.use_case_id])


class BusinessLine(Entity):
    """One line of a business case: an amount per quarter with low, likely and high."""

    case = models.ForeignKey(BusinessCase, on_delete=models.CASCADE, related_name="lines")
    kind = models.CharField(max_length=8, choices=choices.LineKind.choices)
    name = models.CharField(_("name"), max_length=140)
    low = models.DecimalField(max_digits=14, decimal_places=2)
    likely = models.DecimalField(max_digits=14, decimal_places=2)
    high = models.DecimalField(max_digits=14, decimal_places=2)
    first_quarter = models.PositiveSmallIntegerField(_("from quarter"), default=0)
    last_quarter = models.PositiveSmallIntegerField(_("to quarter"), default=0)
    ramp_quarters = models.FloatField(_("ramp (quarters to 63 %)"), default=0.0, validators=[MinValueValidator(0.0)])
    attribution = models.FloatField(
        _("share due to this use case"), default=1.0, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)]
    )
    position = models.PositiveSmallIntegerField(default=0)

    access = (Access(USE_CASE, "case__use_case_id"),)

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(low__lte=models.F("likely"), likely__lte=models.F("high")),
                name="line_order",
                violation_error_message=_("Low, likely and high must rise in that order."),
            ),
            models.CheckConstraint(
                condition=models.Q(first_quarter__lte=models.F("last_quarter")),
                name="line_quarters",
                violation_error_message=_("The line must begin before it ends."),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Adoption(Entity, ExternallyKeyed):
    """One use case at one site, in a scope that grows: a cell first, then the line, then the plant."""

    use_case = models.ForeignKey(UseCase, on_delete=models.PROTECT, related_name="adoptions")
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="adoptions")
    location = models.ForeignKey(Location, null=True, blank=True, on_delete=models.PROTECT, related_name="adoptions")
    scope = models.CharField(_("scope"), max_length=6, choices=choices.Scope.choices, default=choices.Scope.CELL)
    proven_by = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="widened_to",
        verbose_name=_("validated smaller scope"),
    )
    phase = models.PositiveSmallIntegerField(choices=choices.Phase.choices, default=choices.Phase.ARCHITECT)
    devices = models.ManyToManyField(Device, blank=True, related_name="adoptions")
    started_on = models.DateField(_("started"), null=True, blank=True)

    access = (Access(USE_CASE, "use_case_id"), Access(SITE, "site_id", only=("view", "sign", "operate", "review")))

    class Meta:
        ordering = ["use_case", "site", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["use_case", "site", "location", "scope"],
                name="adoption_once",
                violation_error_message=_("This use case is adopted there already."),
            ),
            models.UniqueConstraint(
                fields=["use_case", "site", "scope"],
                condition=models.Q(location=None),
                name="adoption_once_site",
                violation_error_message=_("This use case is adopted there already."),
            ),
            externally_unique("adoption"),
        ]

    def __str__(self) -> str:
        return f"{self.use_case} at {self.site}"

    def get_absolute_url(self) -> str:
        return reverse("usecases:adoption", args=[self.pk])


class Gate(Entity):
    """One of the five decisions. Gates 1 and 5 belong to the use case, 2 to 4 to an adoption."""

    use_case = models.ForeignKey(UseCase, on_delete=models.CASCADE, related_name="gates")
    adoption = models.ForeignKey(Adoption, null=True, blank=True, on_delete=models.CASCADE, related_name="gates")
    number = models.PositiveSmallIntegerField(_("gate"), choices=choices.Phase.choices)
    state = models.CharField(max_length=12, choices=choices.GateState.choices, default=choices.GateState.CLOSED)
    decided_at = models.DateTimeField(null=True, editable=False)
    reopened_at = models.DateTimeField(null=True, editable=False)
    reopened_reason = models.CharField(max_length=300, blank=True, editable=False)
    measured_at = models.DateTimeField(_("last measured (wall time)"), null=True, editable=False)

    access = (Access(USE_CASE, "use_case_id"), Access(SITE, "adoption__site_id", only=("view", "sign")))

    class Meta:
        ordering = ["use_case", "adoption", "number", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["adoption", "number"], condition=models.Q(adoption__isnull=False), name="gate_once_adoption"
            ),
            models.UniqueConstraint(
                fields=["use_case", "number"], condition=models.Q(adoption=None), name="gate_once_use_case"
            ),
            models.CheckConstraint(
                condition=models.Q(number__in=[1, 5], adoption=None)
                | models.Q(number__in=[2, 3, 4], adoption__isnull=False),
                name="gate_owner",
                violation_error_message=_("Gates 1 and 5 belong to the use case, 2 to 4 to an adoption."),
            ),
        ]

    def __str__(self) -> str:
        return f"Gate {self.number}: {self.adoption or self.use_case}"

    @property
    def tone(self) -> str:
        """The word the status component draws the state with: not reached is neither good nor bad."""
        return {"closed": "pending", "open": "running", "held": "paused", "killed": "kill"}.get(self.state, self.state)

    def get_absolute_url(self) -> str:
        return reverse("usecases:gate", args=[self.pk])


class Evidence(Entity):
    """The present state of one criterion of one gate, as last measured; the history is one row per change."""

    gate = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="evidence")
    key = models.CharField(_("criterion"), max_length=80)
    state = models.CharField(max_length=16, choices=choices.CriterionState.choices)
    value = models.JSONField(_("measured value"), null=True)
    text = models.CharField(_("in words"), max_length=300, blank=True)
    measured_at = models.DateTimeField(_("measured at (wall time)"), null=True)
    plant_at = models.DateTimeField(_("measured at (plant time)"), null=True)
    link = models.CharField(_("where it comes from"), max_length=300, blank=True)
    detail = models.JSONField(default=dict)
    since = models.DateTimeField(_("in this state since"))
    deadline = models.DateTimeField(_("grace ends"), null=True)
    current = models.BooleanField(default=True)

    access = (Access(USE_CASE, "gate__use_case_id"), Access(SITE, "gate__adoption__site_id", only=("view",)))

    class Meta:
        ordering = ["gate", "key", "-since", "id"]
        verbose_name_plural = _("evidence")
        constraints = [
            models.UniqueConstraint(fields=["gate", "key"], condition=models.Q(current=True), name="evidence_current")
        ]

    def __str__(self) -> str:
        return f"{self.key}: {self.state}"


class Waiver(Entity):
    """A named person lets a criterion pass for a time, with a reason. Shown wherever the gate is."""

    gate = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="waivers")
    key = models.CharField(_("criterion"), max_length=80)
    reason = models.CharField(_("reason"), max_length=500)
    granted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="waivers")
    expires_at = models.DateTimeField(_("expires"))
    revoked_at = models.DateTimeField(null=True, editable=False)

    access = (
        Access(USE_CASE, "gate__use_case_id", verbs=(("create", "sign"), ("change", "sign"))),
        Access(
            SITE,
            "gate__adoption__site_id",
            only=("view", "sign", "create", "change"),
            verbs=(("create", "sign"), ("change", "sign")),
        ),
    )

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


class GateReview(Entity):
    """A review of a gate: evidence frozen when it opens, signatures on that hash, one decision."""

    gate = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="reviews")
    state = models.CharField(max_length=10, choices=choices.ReviewState.choices, default=choices.ReviewState.OPEN)
    opened_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    snapshot = models.JSONField(_("evidence as frozen"), editable=False)
    snapshot_text = models.TextField(_("canonical JSON"), editable=False)
    snapshot_sha256 = models.CharField(max_length=64, editable=False)
    decision = models.CharField(max_length=16, choices=choices.Decision.choices, blank=True)
    conditions = models.TextField(_("conditions"), blank=True)
    conditions_due = models.DateTimeField(_("conditions due"), null=True, blank=True)
    note = models.TextField(_("reason"), blank=True)
    decided_at = models.DateTimeField(null=True, editable=False)
    decided_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+", editable=False)

    access = (
        Access(USE_CASE, "gate__use_case_id", verbs=(("create", "sign"), ("decide", "sign"), ("change", "sign"))),
        Access(
            SITE,
            "gate__adoption__site_id",
            only=("view", "sign", "decide", "create", "change"),
            verbs=(("create", "sign"), ("decide", "sign"), ("change", "sign")),
        ),
    )

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["gate"],
                condition=models.Q(state="open"),
                name="one_open_review",
                violation_error_message=_("A review of this gate is open already."),
            )
        ]

    def __str__(self) -> str:
        return f"Review of {self.gate}"

    def get_absolute_url(self) -> str:
        return reverse("usecases:review", args=[self.pk])


class Signature(Entity):
    """One person's signature under a frozen snapshot, with the appointment and certificate it rested on."""

    review = models.ForeignKey(GateReview, on_delete=models.CASCADE, related_name="signatures")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="gate_signatures")
    role = models.CharField(max_length=60)
    approves = models.BooleanField(_("approves"), default=True)
    statement = models.CharField(_("statement"), max_length=500, blank=True)
    snapshot_sha256 = models.CharField(max_length=64)
    basis = models.JSONField(default=dict)
    signed_at = models.DateTimeField()

    access = (
        Access(USE_CASE, "review__gate__use_case_id", verbs=(("create", "sign"),)),
        Access(SITE, "review__gate__adoption__site_id", only=("view", "sign")),
    )

    class Meta:
        ordering = ["signed_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["review", "user"],
                name="signature_once",
                violation_error_message=_("You have signed this already."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"
