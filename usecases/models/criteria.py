"""The scoring model: versions of criteria."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from portal.core.access import Access
from portal.core.models import Entity
from usecases import choices

#: The ends of the rubric.
RATED_FROM, RATED_TO = 0.0, 5.0


class CriteriaSet(Entity):
    """A version of the scoring model. A published one never changes: editing makes the next."""

    name = models.CharField(_("name"), max_length=80)
    number = models.PositiveIntegerField(_("version"))
    state = models.CharField(max_length=10, choices=choices.SetState.choices, default=choices.SetState.DRAFT)
    published_at = models.DateTimeField(null=True, editable=False)
    weighting = models.JSONField(
        default=dict,
        editable=False,
        help_text=_("How the weights were elicited: parent key (empty for the top) -> method, answers, consistency."),
    )

    access = (Access(None, everybody=("view",), everything="usecases.add_usecase"),)

    class Meta:
        ordering = ["-number", "id"]
        constraints = [models.UniqueConstraint(fields=["name", "number"], name="criteria_set_version")]

    def __str__(self) -> str:
        return f"{self.name} v{self.number}"


class Criterion(Entity):
    """One criterion or sub-criterion with its rubric, weight and frozen anchors."""

    criteria_set = models.ForeignKey(CriteriaSet, on_delete=models.CASCADE, related_name="criteria")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    key = models.CharField(_("key"), max_length=40)
    name = models.CharField(_("name"), max_length=120)
    description = models.CharField(_("what it asks"), max_length=300, blank=True)
    weight = models.FloatField(
        _("weight"), validators=[MinValueValidator(0.0)], help_text=_("Share among its siblings.")
    )
    anchor_low = models.FloatField(_("worst anchor"), default=0.0)
    anchor_high = models.FloatField(_("best anchor"), default=5.0)
    rubric = models.JSONField(_("rubric"), default=list, blank=True, help_text=_("Six sentences, for 0 to 5."))
    source = models.CharField(
        max_length=10, choices=choices.CriterionSource.choices, default=choices.CriterionSource.JUDGED
    )
    fact = models.CharField(
        _("measured by"), max_length=80, blank=True, help_text=_("Key of the fact that measures it.")
    )
    position = models.PositiveSmallIntegerField(default=0)

    access = (Access(None, everybody=("view",), everything="usecases.add_usecase"),)

    class Meta:
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint(fields=["criteria_set", "key"], name="criterion_key")]

    def __str__(self) -> str:
        return self.name

    @property
    def scale(self) -> tuple[float, float]:
        """The anchors of its ratings. A measured one's own anchors are in the unit of the fact and have made the rating already."""
        if self.source == choices.CriterionSource.MEASURED:
            return RATED_FROM, RATED_TO
        return self.anchor_low, self.anchor_high
