"""Who does it: CoE roles, appointments, certificates, upskilling, retrospectives with actions, ROI reviews."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from coe import choices
from devices.models import Site, code_validator
from governance.models import Incident
from portal.core.access import Access
from portal.core.clock import month_text
from portal.core.models import Entity, User
from portal.core.roles import SITE, USE_CASE
from usecases.models import Adoption

_PEOPLE = (Access(None, everybody=("view",), everything="coe.manage_people"),)


class CoeRole(Entity):
    """Edge Integration Architect, Industrial Data Steward, AI Safety Officer: what each may sign."""

    key = models.CharField(max_length=40, unique=True)
    name = models.CharField(_("name"), max_length=120)
    description = models.TextField(_("what the role does"), blank=True)
    signs = models.JSONField(
        _("signs"), default=list, help_text=_("Kinds: gate_1 to gate_5, model_version, rollout, waiver, safety_waiver.")
    )
    required_at_site = models.BooleanField(_("each site needs one"), default=True)

    access = _PEOPLE

    class Meta:
        ordering = ["name", "id"]
        verbose_name = _("CoE role")
        permissions = [("manage_people", "Can manage appointments, tracks and certificates")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("coe:role", args=[self.pk])


class Appointment(Entity):
    """A person in a CoE role, for a site or company-wide; an interim one bootstraps and expires."""

    role = models.ForeignKey(CoeRole, on_delete=models.PROTECT, related_name="appointments")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="appointments")
    site = models.ForeignKey(Site, null=True, blank=True, on_delete=models.PROTECT, related_name="appointments")
    interim = models.BooleanField(_("interim"), default=False)
    valid_from = models.DateTimeField(_("from"))
    valid_until = models.DateTimeField(_("until"), null=True, blank=True)
    ended_at = models.DateTimeField(null=True, editable=False)
    appointed_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    access = (*_PEOPLE, Access(None, own="user_id", only=("view",)))

    class Meta:
        ordering = ["role", "-valid_from", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(interim=False) | models.Q(valid_until__isnull=False),
                name="interim_expires",
                violation_error_message=_("An interim appointment needs an end."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.user}"

    def get_absolute_url(self) -> str:
        return reverse("coe:role", args=[self.role_id])


class Deputy(Entity):
    """A signer is away: for these days another may sign gates in their place, at one site or at all. Ninety days at most."""

    person = models.ForeignKey(User, on_delete=models.PROTECT, related_name="deputies", verbose_name=_("who is away"))
    deputy = models.ForeignKey(User, on_delete=models.PROTECT, related_name="deputy_for", verbose_name=_("deputy"))
    site = models.ForeignKey(Site, null=True, blank=True, on_delete=models.PROTECT, related_name="deputies")
    valid_from = models.DateTimeField(_("from"))
    valid_until = models.DateTimeField(_("until"))
    reason = models.CharField(_("reason"), max_length=300)
    revoked_at = models.DateTimeField(null=True, editable=False)
    revoked_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+", editable=False)

    access = (
        Access(None, everything="coe.manage_people"),
        Access(None, own="person_id", only=("view", "change")),
        Access(None, own="deputy_id", only=("view",)),
    )

    class Meta:
        ordering = ["-valid_from", "id"]
        verbose_name_plural = _("deputies")
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(person=models.F("deputy")),
                name="deputy_is_another",
                violation_error_message=_("Nobody is their own deputy."),
            ),
            models.CheckConstraint(
                condition=models.Q(valid_until__gt=models.F("valid_from")),
                name="deputy_ends_after_it_begins",
                violation_error_message=_("It must end after it begins."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.deputy} for {self.person}"

    def get_absolute_url(self) -> str:
        return reverse("coe:deputies")


class Track(Entity):
    """An upskilling track that ends in a quiz; passing it gives a certificate for the role."""

    role = models.ForeignKey(CoeRole, on_delete=models.PROTECT, related_name="tracks")
    code = models.CharField(max_length=39, unique=True, validators=[code_validator])
    title = models.CharField(max_length=140)
    summary = models.TextField(blank=True)
    lessons = models.JSONField(default=list, help_text=_("Title and text of each lesson."))
    pass_share = models.FloatField(
        _("share of right answers to pass"), default=0.8, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)]
    )
    valid_days = models.PositiveIntegerField(_("certificate valid (days)"), default=365)
    retry_after_minutes = models.PositiveIntegerField(default=10)

    access = _PEOPLE

    class Meta:
        ordering = ["title", "id"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("coe:track", args=[self.pk])


class Question(Entity):
    track = models.ForeignKey(Track, on_delete=models.CASCADE, related_name="questions")
    position = models.PositiveSmallIntegerField(default=0)
    text = models.CharField(max_length=400)
    choices = models.JSONField(default=list)
    right = models.PositiveSmallIntegerField(_("index of the right choice"))
    explanation = models.CharField(max_length=500, blank=True)

    access = (Access(None, everything="coe.manage_people"),)

    class Meta:
        ordering = ["track", "position", "id"]

    def __str__(self) -> str:
        return self.text


class QuizAttempt(Entity):
    track = models.ForeignKey(Track, on_delete=models.CASCADE, related_name="attempts")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="quiz_attempts")
    answers = models.JSONField(default=dict)
    share = models.FloatField()
    passed = models.BooleanField()
    taken_at = models.DateTimeField()

    access = (Access(None, own="user_id", everything="coe.manage_people"),)

    class Meta:
        ordering = ["-taken_at", "id"]

    def __str__(self) -> str:
        return f"{self.user}: {self.track}"

    def get_absolute_url(self) -> str:
        return reverse("coe:attempt", args=[self.pk])


class Certificate(Entity):
    """Proof of a passed track; an expired or revoked one cannot sign."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="certificates")
    role = models.ForeignKey(CoeRole, on_delete=models.PROTECT, related_name="certificates")
    track = models.ForeignKey(Track, null=True, on_delete=models.PROTECT, related_name="certificates")
    attempt = models.OneToOneField(QuizAttempt, null=True, on_delete=models.PROTECT, related_name="certificate")
    issued_at = models.DateTimeField()
    valid_until = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revoked_reason = models.CharField(_("why it was revoked"), max_length=300, blank=True)

    access = (*_PEOPLE, Access(None, own="user_id", only=("view",)))

    class Meta:
        ordering = ["-issued_at", "id"]

    def __str__(self) -> str:
        return f"{self.role}: {self.user}"

    def get_absolute_url(self) -> str:
        return reverse("coe:role", args=[self.role_id])


class Retrospective(Entity):
    """A site's month, pre-filled from its incidents; held when people have met over it."""

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="retrospectives")
    month = models.DateField(_("month (plant time)"))
    state = models.CharField(
        max_length=6, choices=choices.RetrospectiveState.choices, default=choices.RetrospectiveState.DRAFT
    )
    summary = models.JSONField(_("filled in from records"), default=dict, editable=False)
    went_well = models.TextField(_("what went well"), blank=True)
    to_improve = models.TextField(_("what to improve"), blank=True)
    held_at = models.DateTimeField(null=True, editable=False)
    held_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+", editable=False)
    incidents = models.ManyToManyField(Incident, blank=True, related_name="retrospectives")

    access = (Access(SITE, "site_id", verbs=(("create", "review"), ("change", "review"), ("hold", "review"))),)

    class Meta:
        ordering = ["-month", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["site", "month"],
                name="retrospective_month",
                violation_error_message=_("This month has its retrospective."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.site}, {month_text(self.month)}"

    def get_absolute_url(self) -> str:
        return reverse("coe:retrospective", args=[self.pk])


class Action(Entity):
    """Something to do after a retrospective or review, with an owner and a date."""

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="actions")
    retrospective = models.ForeignKey(
        Retrospective, null=True, blank=True, on_delete=models.CASCADE, related_name="actions"
    )
    roi_review = models.ForeignKey(
        "RoiReview", null=True, blank=True, on_delete=models.SET_NULL, related_name="actions"
    )
    text = models.CharField(_("what"), max_length=300)
    amount = models.DecimalField(
        _("budget to move"),
        max_digits=14,
        decimal_places=2,
        null=True,
        blank=True,
        help_text=_("Above zero: more for this use case; below zero: less."),
    )
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    owner = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="actions")
    due_on = models.DateField(_("due (wall time)"))
    state = models.CharField(max_length=8, choices=choices.ActionState.choices, default=choices.ActionState.OPEN)
    closed_at = models.DateTimeField(null=True, editable=False)

    access = (
        Access(SITE, "site_id", verbs=(("create", "review"), ("change", "review"), ("delete", "review"))),
        Access(None, own="owner_id", only=("view", "change")),
    )

    class Meta:
        ordering = ["due_on", "id"]

    def __str__(self) -> str:
        return self.text

    def get_absolute_url(self) -> str:
        return reverse("coe:action", args=[self.pk])


class RoiReview(Entity):
    """A quarter of one adoption: value planned against value measured, with its interval, or "not provable until"."""

    adoption = models.ForeignKey(Adoption, on_delete=models.PROTECT, related_name="roi_reviews")
    quarter = models.DateField(_("quarter begins (plant time)"))
    planned = models.DecimalField(max_digits=14, decimal_places=2, null=True)
    measured = models.DecimalField(max_digits=14, decimal_places=2, null=True)
    measured_low = models.DecimalField(max_digits=14, decimal_places=2, null=True)
    measured_high = models.DecimalField(max_digits=14, decimal_places=2, null=True)
    currency = models.CharField(max_length=3, default="EUR")
    verdict = models.CharField(max_length=12, choices=choices.ReviewVerdict.choices, default=choices.ReviewVerdict.OPEN)
    provable_from = models.CharField(_("not provable until"), max_length=300, blank=True)
    detail = models.JSONField(default=dict, editable=False)
    note = models.TextField(_("conclusion"), blank=True)
    held_at = models.DateTimeField(null=True, editable=False)
    held_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+", editable=False)

    access = (
        Access(SITE, "adoption__site_id", verbs=(("create", "review"), ("change", "review"), ("hold", "review"))),
        Access(USE_CASE, "adoption__use_case_id", only=("view",)),
    )

    class Meta:
        ordering = ["-quarter", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["adoption", "quarter"],
                name="roi_quarter",
                violation_error_message=_("This quarter has its review."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.adoption}, Q{(self.quarter.month - 1) // 3 + 1} {self.quarter.year}"

    def get_absolute_url(self) -> str:
        return reverse("coe:roi-review", args=[self.pk])
