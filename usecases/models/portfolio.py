"""What the budget buys: scenarios, what use cases need of people, and the runs of the optimiser."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from portal.core.access import Access
from portal.core.models import Entity, Job, User
from portal.core.roles import USE_CASE
from usecases import choices
from usecases.models.business import currency_code
from usecases.models.cases import UseCase


class EffortNeed(Entity):
    """Person-days of one role that a use case needs in one quarter after its start (0 is the quarter it starts in)."""

    use_case = models.ForeignKey(UseCase, on_delete=models.CASCADE, related_name="efforts")
    role = models.CharField(_("role"), max_length=40)
    quarter = models.PositiveSmallIntegerField(_("quarter after the start"), default=0)
    days = models.FloatField(_("person-days"), validators=[MinValueValidator(0.0)])

    access = (Access(USE_CASE, "use_case_id"),)

    class Meta:
        ordering = ["use_case", "quarter", "role", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["use_case", "role", "quarter"],
                name="effort_once",
                violation_error_message=_("There is a figure for this role and quarter already."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.use_case}: {self.role}"


class Scenario(Entity):
    """A question to the optimiser: these use cases, this budget and these people. At most one is the plan of record."""

    name = models.CharField(_("name"), max_length=140)
    note = models.TextField(_("note"), max_length=2000, blank=True)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="scenarios")
    currency = models.CharField(_("currency"), max_length=3, default="EUR", validators=[currency_code])
    start = models.DateField(_("first quarter begins"))
    quarters = models.PositiveSmallIntegerField(
        _("quarters"), default=4, validators=[MinValueValidator(1), MaxValueValidator(16)]
    )
    budget = models.JSONField(_("budget per quarter"), default=list)
    capacity = models.JSONField(_("capacity per role"), default=dict, blank=True)
    candidates = models.ManyToManyField(UseCase, related_name="scenarios", verbose_name=_("use cases"))
    must = models.ManyToManyField(UseCase, blank=True, related_name="+", verbose_name=_("must be in"))
    must_not = models.ManyToManyField(UseCase, blank=True, related_name="+", verbose_name=_("must stay out"))
    lag = models.PositiveSmallIntegerField(
        _("quarters after a foundation"),
        default=0,
        help_text=_("How long after what it depends on a use case may start."),
    )
    foundation_share = models.FloatField(
        _("least share of the spending on foundations"),
        default=0.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
    )
    site_shares = models.JSONField(_("least share of the spending per site"), default=dict, blank=True)
    gap = models.FloatField(
        _("gap to accept"), default=0.01, validators=[MinValueValidator(0.0), MaxValueValidator(0.5)]
    )
    time_limit = models.FloatField(
        _("time limit (seconds)"), default=10.0, validators=[MinValueValidator(0.1), MaxValueValidator(600.0)]
    )
    seed = models.PositiveIntegerField(_("seed"), default=1)
    of_record_at = models.DateTimeField(_("plan of record since"), null=True, editable=False)
    of_record = models.BooleanField(default=False, editable=False)

    access = (
        Access(None, own="owner_id", everything="usecases.add_usecase"),
        Access(USE_CASE, "candidates", only=("view",)),
    )

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["of_record"], condition=models.Q(of_record=True), name="scenario_one_of_record"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("usecases:scenario", args=[self.pk])


class Exclusion(Entity):
    """Two use cases of which a scenario may start one at most."""

    scenario = models.ForeignKey(Scenario, on_delete=models.CASCADE, related_name="exclusions")
    first = models.ForeignKey(UseCase, on_delete=models.CASCADE, related_name="+")
    second = models.ForeignKey(UseCase, on_delete=models.CASCADE, related_name="+")
    reason = models.CharField(_("why not both"), max_length=300, blank=True)

    access = (
        Access(None, own="scenario__owner_id", everything="usecases.add_usecase"),
        Access(USE_CASE, "scenario__candidates", only=("view",)),
    )

    class Meta:
        ordering = ["scenario", "id"]
        constraints = [
            models.UniqueConstraint(fields=["scenario", "first", "second"], name="exclusion_once"),
            models.CheckConstraint(
                condition=~models.Q(first=models.F("second")),
                name="exclusion_two",
                violation_error_message=_("A use case cannot exclude itself."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.first} or {self.second}"


class PortfolioRun(Entity):
    """One run of the optimiser on a scenario as it then was. ``job`` says how far it is; the newest result is kept while it runs."""

    scenario = models.ForeignKey(Scenario, on_delete=models.CASCADE, related_name="runs")
    kind = models.CharField(max_length=10, choices=choices.RunKind.choices, default=choices.RunKind.PLAN)
    job = models.OneToOneField(Job, null=True, on_delete=models.SET_NULL, related_name="+", editable=False)
    requested_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+", editable=False)
    inputs = models.JSONField(_("what was asked"), default=dict, editable=False)
    inputs_sha256 = models.CharField(max_length=64, editable=False)
    result = models.JSONField(default=dict, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    access = (
        Access(None, own="scenario__owner_id", everything="usecases.add_usecase"),
        Access(USE_CASE, "scenario__candidates", only=("view",)),
    )

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.scenario}"

    def get_absolute_url(self) -> str:
        return reverse("usecases:scenario", args=[self.scenario_id])
