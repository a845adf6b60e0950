"""The five decisions, the evidence they are taken on, and who signed."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from portal.core.access import Access
from portal.core.models import Entity, User
from portal.core.roles import SITE, USE_CASE
from usecases import choices
from usecases.models.cases import Adoption, UseCase


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
    signatures_due = models.DateTimeField(_("signatures wanted by"), null=True, blank=True)
    reminded_at = models.DateTimeField(null=True, editable=False)
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


class GateCondition(Entity):
    """What a decision asks for: a condition of a conditional go, or work that a recycle sends back. Somebody owns it, by a date."""

    review = models.ForeignKey(GateReview, on_delete=models.CASCADE, related_name="terms")
    kind = models.CharField(
        max_length=10, choices=choices.ConditionKind.choices, default=choices.ConditionKind.CONDITION
    )
    key = models.CharField(_("criterion"), max_length=80, blank=True)
    text = models.CharField(_("what must be done"), max_length=500)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="gate_conditions")
    due_at = models.DateTimeField(_("due (wall time)"), null=True, blank=True)
    met_at = models.DateTimeField(null=True, editable=False)
    met_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+", editable=False)
    met_note = models.CharField(_("how it was met"), max_length=300, blank=True)

    access = (
        Access(None, own="owner_id", only=("change",)),
        Access(USE_CASE, "review__gate__use_case_id", verbs=(("change", "sign"),)),
        Access(SITE, "review__gate__adoption__site_id", only=("view", "change"), verbs=(("change", "sign"),)),
    )

    class Meta:
        ordering = ["due_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["review", "key"], condition=~models.Q(key=""), name="condition_once_per_criterion"
            )
        ]

    def __str__(self) -> str:
        return self.text

    def get_absolute_url(self) -> str:
        return reverse("usecases:review", args=[self.review_id])


class Signature(Entity):
    """One person's signature under a frozen snapshot, with the appointment and certificate it rested on."""

    review = models.ForeignKey(GateReview, on_delete=models.CASCADE, related_name="signatures")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="gate_signatures")
    on_behalf_of = models.ForeignKey(
        User,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="signatures_by_deputy",
        verbose_name=_("signed for"),
    )
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
            ),
            models.UniqueConstraint(
                fields=["review", "on_behalf_of"],
                name="signature_once_for",
                violation_error_message=_("A deputy has signed this for that person already."),
            ),
            models.CheckConstraint(
                condition=models.Q(on_behalf_of=None) | ~models.Q(on_behalf_of=models.F("user")),
                name="signature_for_another",
                violation_error_message=_("Nobody is their own deputy."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"

    @property
    def person_id(self) -> Any:
        """Whose place it fills: the signer's, or that of the person whom the signer stands in for."""
        return self.on_behalf_of_id or self.user_id


class GateComment(Entity):
    """What somebody says about a gate; ``mentions`` are told."""

    gate = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="comments")
    review = models.ForeignKey(GateReview, null=True, blank=True, on_delete=models.CASCADE, related_name="comments")
    key = models.CharField(_("criterion"), max_length=80, blank=True)
    author = models.ForeignKey(User, on_delete=models.PROTECT, related_name="gate_comments")
    text = models.TextField(_("comment"), max_length=4000)
    mentions = models.ManyToManyField(User, blank=True, related_name="mentioned_in")
    edited_at = models.DateTimeField(null=True, editable=False)
    withdrawn_at = models.DateTimeField(null=True, editable=False)

    access = (
        Access(None, own="author_id", only=("change",)),
        Access(USE_CASE, "gate__use_case_id", only=("view", "create"), verbs=(("create", "view"),)),
        Access(SITE, "gate__adoption__site_id", only=("view", "create"), verbs=(("create", "view"),)),
    )

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return f"{self.author} on {self.gate}"

    def get_absolute_url(self) -> str:
        return f"{reverse('usecases:gate', args=[self.gate_id])}#comment-{self.pk}"
