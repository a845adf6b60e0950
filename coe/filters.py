"""One FilterSet per model, for page and API alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django_filters as filters
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from coe import models, selectors
from coe.choices import ActionState
from devices.models import Site
from portal.core.clock import wall_now
from usecases.models import Adoption


def _seen(model: Any, **extra: Any) -> Any:
    """A choice among the related rows this person may see."""

    def rows(request: Any) -> Any:
        return model.objects.permitted(request.user) if request is not None else model.objects.none()

    choose: Callable[[Any], Any] = rows
    return filters.ModelChoiceFilter(queryset=choose, **extra)


class CoeRoleFilter(filters.FilterSet):
    class Meta:
        model = models.CoeRole
        fields = ["key"]


class AppointmentFilter(filters.FilterSet):
    user = filters.UUIDFilter(field_name="user_id")
    site = _seen(Site)
    current = filters.BooleanFilter(method="in_force", label=_("In force now"))

    class Meta:
        model = models.Appointment
        fields = ["role", "user", "site", "interim", "current"]

    def in_force(self, queryset: Any, name: str, value: bool) -> Any:
        rows = selectors.appointments_in_force(wall_now()).values("pk")
        return queryset.filter(pk__in=rows) if value else queryset.exclude(pk__in=rows)


class CertificateFilter(filters.FilterSet):
    user = filters.UUIDFilter(field_name="user_id")
    valid = filters.BooleanFilter(method="in_force", label=_("Valid now"))

    class Meta:
        model = models.Certificate
        fields = ["role", "user", "track", "valid"]

    def in_force(self, queryset: Any, name: str, value: bool) -> Any:
        rows = selectors.certificates_in_force(wall_now()).values("pk")
        return queryset.filter(pk__in=rows) if value else queryset.exclude(pk__in=rows)


class TrackFilter(filters.FilterSet):
    class Meta:
        model = models.Track
        fields = ["role", "code"]


class RetrospectiveFilter(filters.FilterSet):
    site = _seen(Site, label=_("Site"))
    month_from = filters.DateFilter(field_name="month", lookup_expr="gte", label=_("From month"))
    month_to = filters.DateFilter(field_name="month", lookup_expr="lte", label=_("To month"))

    class Meta:
        model = models.Retrospective
        fields = ["site", "state", "month_from", "month_to"]


class ActionFilter(filters.FilterSet):
    q = filters.CharFilter(field_name="text", lookup_expr="icontains", label=_("Text contains"))
    site = _seen(Site, label=_("Site"))
    retrospective = _seen(models.Retrospective, label=_("Retrospective"))
    roi_review = _seen(models.RoiReview, label=_("ROI review"))
    owner = filters.UUIDFilter(field_name="owner_id", label=_("Owner"))
    mine = filters.BooleanFilter(method="of_mine", label=_("Mine"))
    overdue = filters.BooleanFilter(method="past_due", label=_("Overdue"))

    class Meta:
        model = models.Action
        fields = ["q", "site", "state", "mine", "overdue", "owner", "retrospective", "roi_review"]

    def of_mine(self, queryset: Any, name: str, value: bool) -> Any:
        mine = Q(owner_id=self.request.user.pk)
        return queryset.filter(mine) if value else queryset.exclude(mine)

    def past_due(self, queryset: Any, name: str, value: bool) -> Any:
        late = Q(state=ActionState.OPEN, due_on__lt=wall_now().date())
        return queryset.filter(late) if value else queryset.exclude(late)


class ActionPageFilter(ActionFilter):
    """The page's bar: what a person chooses from; the API takes the rest too."""

    class Meta:
        model = models.Action
        fields = ["q", "site", "state", "mine", "overdue"]

    owner = None
    retrospective = None
    roi_review = None


class RoiReviewFilter(filters.FilterSet):
    site = _seen(Site, field_name="adoption__site", label=_("Site"))
    adoption = _seen(Adoption, label=_("Adoption"))
    held = filters.BooleanFilter(field_name="held_at", lookup_expr="isnull", exclude=True, label=_("Held"))

    class Meta:
        model = models.RoiReview
        fields = ["site", "adoption", "verdict", "held"]


class RoiReviewPageFilter(RoiReviewFilter):
    class Meta:
        model = models.RoiReview
        fields = ["site", "verdict", "held"]

    adoption = None
