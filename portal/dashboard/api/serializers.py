"""What the readings answer with. Money is a decimal in a string, a share 0..1, a time RFC 3339 in UTC."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from portal.dashboard.cockpit import READING
from portal.dashboard.scale import HEALTHS
from portal.dashboard.trouble import ORDER as TROUBLES
from portal.dashboard.work import ORDER as WORK
from usecases.choices import Label, Phase

CLOCKS = ("wall", "plant")
_Parent = serializers.Serializer[Any]


class WorkItemSerializer(_Parent):
    """One thing that waits for the signed-in person. ``id`` is that of the record behind ``url``."""

    kind = serializers.ChoiceField(choices=WORK)
    id = serializers.UUIDField(source="pk")
    label = serializers.CharField()  # type: ignore[assignment]
    note = serializers.CharField(allow_blank=True)
    url = serializers.CharField(help_text="Page of the portal.")
    site = serializers.UUIDField(allow_null=True)
    since = serializers.DateTimeField(allow_null=True, help_text="Wall time.")
    due = serializers.DateTimeField(allow_null=True, help_text="By the clock named in `clock`.")
    clock = serializers.ChoiceField(choices=CLOCKS)
    overdue = serializers.BooleanField()


class WorkSerializer(_Parent):
    count = serializers.IntegerField(min_value=0)
    results = WorkItemSerializer(many=True)


class TroubleSerializer(_Parent):
    kind = serializers.ChoiceField(choices=TROUBLES)
    id = serializers.UUIDField(source="pk")
    label = serializers.CharField()  # type: ignore[assignment]
    state = serializers.ChoiceField(choices=("breach", "watch"))
    note = serializers.CharField(allow_blank=True)
    url = serializers.CharField(help_text="Page of the portal.")
    site = serializers.UUIDField(allow_null=True)
    adoption = serializers.UUIDField(allow_null=True)
    since = serializers.DateTimeField(allow_null=True, help_text="By the clock named in `clock`.")
    clock = serializers.ChoiceField(choices=CLOCKS)


class LiveModelSerializer(_Parent):
    model = serializers.UUIDField(source="pipeline.model_id")
    pipeline = serializers.UUIDField(source="pipeline.pk")
    name = serializers.CharField(source="pipeline.model.name")
    version = serializers.IntegerField(source="number", min_value=1)
    mean_error = serializers.FloatField(source="error", allow_null=True, help_text="Newest window with labels.")
    error_limit = serializers.FloatField(source="pipeline.model.error_limit", allow_null=True)
    unit = serializers.CharField(source="pipeline.model.unit", allow_blank=True)


class RunningSerializer(_Parent):
    adoption = serializers.UUIDField(source="adoption.pk")
    use_case = serializers.UUIDField(source="adoption.use_case_id")
    use_case_title = serializers.CharField(source="adoption.use_case.title")
    site = serializers.UUIDField(source="adoption.site_id")
    site_name = serializers.CharField(source="adoption.site.name")
    phase = serializers.ChoiceField(source="adoption.phase", choices=Phase.choices)
    health = serializers.ChoiceField(choices=HEALTHS)
    models = LiveModelSerializer(many=True)


class RunsSerializer(_Parent):
    adoptions = RunningSerializer(many=True, source="running")
    models_live = serializers.IntegerField(source="models", min_value=0)
    gateways_online = serializers.IntegerField(source="online", min_value=0)
    gateways = serializers.IntegerField(source="gateways_all", min_value=0)


def _money(**extra: Any) -> serializers.DecimalField:
    return serializers.DecimalField(max_digits=18, decimal_places=2, allow_null=True, **extra)


class ReviewSerializer(_Parent):
    roi_review = serializers.UUIDField(source="review.pk")
    adoption = serializers.UUIDField(source="review.adoption_id")
    quarter = serializers.DateField(source="review.quarter", help_text="First day, plant time.")
    verdict = serializers.CharField(source="review.verdict")
    proven = serializers.BooleanField()
    planned = _money(source="review.planned", help_text="An assumption of the business case.")
    measured = _money(source="review.measured", help_text="An estimate while `proven` is false.")
    measured_low = _money(source="review.measured_low")
    measured_high = _money(source="review.measured_high")
    currency = serializers.CharField(source="review.currency")
    reason = serializers.CharField(allow_blank=True, help_text="Why nothing is proven.")


class TotalSerializer(_Parent):
    currency = serializers.CharField()
    planned = _money()
    measured = _money(help_text="Sum of the proven reviews; null while none is.")
    measured_low = _money(source="low")
    measured_high = _money(source="high")
    proven = serializers.IntegerField(min_value=0)
    reviews = serializers.IntegerField(source="of", min_value=0)


class TrendSerializer(_Parent):
    outcome = serializers.UUIDField(source="outcome.pk")
    kpi = serializers.CharField(source="outcome.kpi")
    site_name = serializers.CharField(source="site", allow_blank=True)
    newest = serializers.FloatField(help_text="Value per exposure of the newest period.")
    unit = serializers.CharField()
    baseline = serializers.FloatField(source="outcome.baseline_value", allow_null=True)
    target = serializers.FloatField(source="outcome.target_value", allow_null=True)
    plant_at = serializers.DateTimeField(source="at", help_text="End of the newest period, plant time.")
    state = serializers.ChoiceField(choices=("ok", "watch", "breach", "unknown"))


class EarnedSerializer(_Parent):
    totals = TotalSerializer(many=True, source="money.totals")
    reviews = ReviewSerializer(many=True, source="money.earned")
    trends = TrendSerializer(many=True)
    reason = serializers.CharField(source="money.reason", allow_blank=True, help_text="Why no value is proven.")


class CountsSerializer(_Parent):
    stop = serializers.IntegerField(min_value=0)
    incident = serializers.IntegerField(min_value=0)
    slo = serializers.IntegerField(min_value=0)
    gate = serializers.IntegerField(min_value=0)
    gateway = serializers.IntegerField(min_value=0)
    check = serializers.IntegerField(min_value=0)


class BrokenSerializer(_Parent):
    counts = CountsSerializer(source="counted")
    results = TroubleSerializer(many=True, source="broken")


class CockpitSerializer(_Parent):
    """The first screen: what runs, what it earned, what is broken, your one action; ``order`` is that of the person's role."""

    finding = serializers.CharField(allow_blank=True)
    order = serializers.ListField(child=serializers.ChoiceField(choices=sorted(READING["executive"])))
    runs = RunsSerializer(source="*")
    earned = EarnedSerializer(source="*")
    broken = BrokenSerializer(source="*")
    action = WorkItemSerializer(allow_null=True)
    work_count = serializers.SerializerMethodField()

    def get_work_count(self, obj: Any) -> int:
        return len(obj.work)


class CellSerializer(_Parent):
    """One use case at one site, adopted."""

    use_case = serializers.UUIDField(source="use_case.pk")
    site = serializers.UUIDField(source="site.pk")
    adoption = serializers.UUIDField(source="adoption.pk", help_text="The one that is furthest.")
    phase = serializers.ChoiceField(choices=Phase.choices)
    health = serializers.ChoiceField(choices=HEALTHS)
    incidents = serializers.IntegerField(min_value=0)
    scopes = serializers.ListField(child=serializers.CharField())
    title = serializers.CharField(help_text="The cell in words.")
    url = serializers.CharField(help_text="Page of the portal.")


class MapSiteSerializer(_Parent):
    id = serializers.UUIDField(source="pk")
    code = serializers.CharField()
    name = serializers.CharField()


class MapUseCaseSerializer(_Parent):
    id = serializers.UUIDField(source="pk")
    code = serializers.CharField()
    title = serializers.CharField()
    label = serializers.ChoiceField(choices=Label.choices)  # type: ignore[assignment]
    phase = serializers.ChoiceField(choices=Phase.choices)


class ScaleMapSerializer(_Parent):
    """Use case by site. A pair without a cell is not adopted."""

    finding = serializers.CharField()
    sites = MapSiteSerializer(many=True)
    use_cases = MapUseCaseSerializer(many=True)
    cells = CellSerializer(many=True, source="adopted")


class ScopeSerializer(_Parent):
    """Parameters of the cockpit and of my work."""

    site = serializers.UUIDField(required=False, help_text="Of this site only.")


class ScaleMapQuerySerializer(ScopeSerializer):
    label = serializers.ChoiceField(choices=Label.choices, required=False)  # type: ignore[assignment]
    health = serializers.ChoiceField(choices=HEALTHS, required=False)
    q = serializers.CharField(max_length=140, required=False, help_text="Part of the use case's title.")
