"""What a use case is to move: KPIs with their baseline, target and readings."""

from __future__ import annotations

import math
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from devices.models import Site, externally_unique
from portal.core.access import Access
from portal.core.clock import day_text
from portal.core.models import Entity, ExternallyKeyed, User
from portal.core.roles import USE_CASE
from usecases import choices
from usecases.models.business import currency_code
from usecases.models.cases import UseCase

#: Sums over many readings must stay exact.
_LARGEST = 1e15


def _usable(number: float) -> bool:
    return math.isfinite(number) and abs(number) <= _LARGEST


class Outcome(Entity, ExternallyKeyed):
    """A business KPI that the use case is to move: baseline, target and what a unit of it is worth."""

    use_case = models.ForeignKey(UseCase, on_delete=models.CASCADE, related_name="outcomes")
    kpi = models.CharField(_("KPI"), max_length=140)
    owner = models.ForeignKey(
        User,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="owned_outcomes",
        verbose_name=_("owner"),
    )
    source = models.CharField(
        _("source"),
        max_length=140,
        blank=True,
        help_text=_("Where the KPI comes from: the shift log, MES, the historian."),
    )
    counts_events = models.BooleanField(
        _("counts events"),
        default=False,
        help_text=_("Each unit is one event, such as a stoppage: then the portal can say how many prove the target."),
    )
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
    currency = models.CharField(_("currency"), max_length=3, default="EUR", validators=[currency_code])
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
        return reverse("usecases:outcome", args=[self.pk])

    def clean(self) -> None:
        wrong: dict[str, Any] = {}
        for name in ("baseline_value", "baseline_exposure", "target_value"):
            number = getattr(self, name)
            if number is not None and not _usable(number):
                wrong[name] = _("A number is wanted here, no larger than 1,000,000,000,000,000.")
            elif number is not None and number < 0 and (name == "baseline_exposure" or self.counts_events):
                wrong[name] = _("This cannot be below zero.")
        if self.value_per_unit is not None and self.value_per_unit < 0:
            wrong["value_per_unit"] = _("What a unit is worth has no sign; the direction says which way is better.")
        if wrong:
            raise ValidationError(wrong)


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

    def get_absolute_url(self) -> str:
        return reverse("usecases:outcome", args=[self.outcome_id])

    @property
    def rate(self) -> float | None:
        """The KPI itself; None where the machine did not run."""
        return self.value / self.exposure if self.exposure else None

    def clean(self) -> None:
        wrong: dict[str, Any] = {}
        for name in ("value", "exposure"):
            number = getattr(self, name)
            if number is not None and not _usable(number):
                wrong[name] = _("A number is wanted here, no larger than 1,000,000,000,000,000.")
        counted = self.outcome.counts_events and "value" not in wrong and self.value is not None
        if counted and (self.value < 0 or not float(self.value).is_integer()):
            wrong["value"] = _("This KPI counts events: 0, 1, 2, and so on.")
        if wrong:
            raise ValidationError(wrong)
