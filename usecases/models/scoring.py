"""Scoring rounds and the answers given in them."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from portal.core.access import Access
from portal.core.models import Entity, User
from portal.core.roles import USE_CASE
from usecases import choices
from usecases.models.cases import UseCase
from usecases.models.criteria import CriteriaSet, Criterion

#: Answers that are no longer private to who gave them: those of the first vote from the reveal on, all once the round is closed.
OPENED = models.Q(round__state=choices.RoundState.CLOSED) | models.Q(
    vote=1, round__state__in=[choices.RoundState.REVEALED, choices.RoundState.SECOND]
)
_PRIVATE = (
    Access(None, own="rater_id"),
    Access(None, own="round__facilitator_id", only=("view",), when=OPENED),
)


class ScoringRound(Entity):
    """Several people rate several use cases with one version of the criteria."""

    title = models.CharField(_("title"), max_length=140)
    criteria_set = models.ForeignKey(CriteriaSet, on_delete=models.PROTECT, related_name="rounds")
    use_cases = models.ManyToManyField(UseCase, related_name="rounds", verbose_name=_("use cases"))
    raters = models.ManyToManyField(User, through="Seat", related_name="rounds", verbose_name=_("raters"))
    facilitator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="facilitated_rounds")
    state = models.CharField(max_length=10, choices=choices.RoundState.choices, default=choices.RoundState.OPEN)
    weighting = models.CharField(
        _("weights"), max_length=10, choices=choices.RoundWeighting.choices, default=choices.RoundWeighting.CRITERIA
    )
    role_weights = models.JSONField(
        _("weight of each role"),
        default=dict,
        blank=True,
        help_text=_("Role -> relative weight; 1 where none is given."),
    )
    due_at = models.DateTimeField(_("answers wanted by"), null=True, blank=True)
    revealed_at = models.DateTimeField(null=True, editable=False)
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


class Seat(Entity):
    """One invited rater of a round, with the role in which they rate."""

    round = models.ForeignKey(ScoringRound, on_delete=models.CASCADE, related_name="seats")
    person = models.ForeignKey(User, on_delete=models.PROTECT, related_name="seats")
    role = models.CharField(_("rates as"), max_length=40, blank=True)

    access = (Access(None, own="round__facilitator_id"), Access(None, own="person_id", only=("view",)))

    class Meta:
        ordering = ["round", "role", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["round", "person"],
                name="seat_once",
                violation_error_message=_("This person is invited already."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.person} in {self.round}"


class Judgement(Entity):
    """One person's comparison of two top criteria: ``first`` is ``value`` times as important as ``second`` (1/9 to 9)."""

    round = models.ForeignKey(ScoringRound, on_delete=models.CASCADE, related_name="judgements")
    rater = models.ForeignKey(User, on_delete=models.PROTECT, related_name="judgements")
    vote = models.PositiveSmallIntegerField(default=1)
    first = models.ForeignKey(Criterion, on_delete=models.PROTECT, related_name="+")
    second = models.ForeignKey(Criterion, on_delete=models.PROTECT, related_name="+")
    value = models.FloatField(validators=[MinValueValidator(1 / 9), MaxValueValidator(9.0)])

    access = _PRIVATE
    private_to_persons = True

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["round", "rater", "vote", "first", "second"], name="judgement_once")
        ]

    def __str__(self) -> str:
        return f"{self.first} / {self.second} = {self.value:g}"


class Rating(Entity):
    """One person's rating of one use case on one sub-criterion; no value means "I don't know"."""

    round = models.ForeignKey(ScoringRound, on_delete=models.CASCADE, related_name="ratings")
    use_case = models.ForeignKey(UseCase, on_delete=models.CASCADE, related_name="ratings")
    criterion = models.ForeignKey(Criterion, on_delete=models.PROTECT, related_name="ratings")
    rater = models.ForeignKey(User, on_delete=models.PROTECT, related_name="ratings")
    rater_role = models.CharField(max_length=40, blank=True)
    vote = models.PositiveSmallIntegerField(
        _("vote"), default=1, help_text=_("1 before the reveal, 2 after the discussion.")
    )
    value = models.FloatField(
        _("rating"), null=True, blank=True, validators=[MinValueValidator(0.0), MaxValueValidator(5.0)]
    )
    comment = models.CharField(_("comment"), max_length=500, blank=True)
    measured = models.FloatField(
        _("measured value it replaces"), null=True, editable=False, help_text=_("On the scale 0 to 5.")
    )
    reason = models.CharField(_("reason for not taking the measured value"), max_length=500, blank=True)

    access = _PRIVATE
    private_to_persons = True

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["round", "use_case", "criterion", "rater", "vote"], name="rating_once")
        ]

    def __str__(self) -> str:
        return f"{self.rater}: {self.criterion} = {self.value}"
