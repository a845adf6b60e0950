"""What a use case costs and brings."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from portal.core.access import Access
from portal.core.models import Entity
from portal.core.roles import USE_CASE
from usecases import choices
from usecases.models.cases import UseCase

DEFAULT_SEED = 20_260
currency_code = RegexValidator(r"^[A-Z]{3}$", _("Three capital letters, such as EUR."))


class BusinessCase(Entity):
    """What the use case costs and brings per quarter. One living case per use case; a gate freezes the version it read."""

    use_case = models.OneToOneField(UseCase, on_delete=models.CASCADE, related_name="business_case")
    currency = models.CharField(_("currency"), max_length=3, default="EUR", validators=[currency_code])
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
    seed = models.PositiveIntegerField(
        _("seed of the draws"),
        default=DEFAULT_SEED,
        help_text=_("The same lines and the same seed give the same figures; another seed shows how much is chance."),
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
    delay_low = models.FloatField(_("delay, at best (quarters)"), default=0.0, validators=[MinValueValidator(0.0)])
    delay_likely = models.FloatField(_("delay, likely (quarters)"), default=0.0, validators=[MinValueValidator(0.0)])
    delay_high = models.FloatField(_("delay, at worst (quarters)"), default=0.0, validators=[MinValueValidator(0.0)])
    note = models.CharField(_("where the amount comes from"), max_length=300, blank=True)
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
            models.CheckConstraint(
                condition=models.Q(delay_low__lte=models.F("delay_likely"), delay_likely__lte=models.F("delay_high")),
                name="line_delay_order",
                violation_error_message=_("The delays at best, likely and at worst must rise in that order."),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ExchangeRate(Entity):
    """What one unit of ``base`` buys of ``quote`` from a day on. Sums over several business cases use the newest."""

    base = models.CharField(_("from"), max_length=3, validators=[currency_code])
    quote = models.CharField(_("to"), max_length=3, validators=[currency_code])
    rate = models.DecimalField(_("rate"), max_digits=18, decimal_places=8)
    on = models.DateField(_("valid from"))
    source = models.CharField(_("source"), max_length=140, help_text=_("Who says so: the treasury, a central bank."))

    access = (Access(None, everybody=("view",), everything="usecases.add_usecase"),)

    class Meta:
        ordering = ["base", "quote", "-on", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["base", "quote", "on"],
                name="exchange_rate_once",
                violation_error_message=_("There is a rate for this day already."),
            ),
            models.CheckConstraint(
                condition=models.Q(rate__gt=0),
                name="exchange_rate_positive",
                violation_error_message=_("An exchange rate must be above zero."),
            ),
            models.CheckConstraint(
                condition=~models.Q(base=models.F("quote")),
                name="exchange_rate_two",
                violation_error_message=_("The two currencies must be different."),
            ),
        ]

    def __str__(self) -> str:
        return f"1 {self.base} = {self.rate.normalize():f} {self.quote}"

    def get_absolute_url(self) -> str:
        return reverse("usecases:exchange-rates")
