"""What is to be done and where: use cases and their adoptions at sites."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from devices.models import Device, Location, Site, code_validator, externally_unique
from portal.core.access import Access, container_permissions
from portal.core.models import Entity, ExternallyKeyed, User
from portal.core.roles import SITE, USE_CASE
from usecases import choices


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
