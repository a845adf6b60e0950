"""Shapes of the marketplace's resources. Amounts to write are whole minor units; amounts to read are money as well."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from marketplace import money
from marketplace.models import ClientKey, Invoice, InvoiceLine, Plan, Service, Subscription, UsageEvent
from portal.core.api.viewsets import EntitySerializer

_OWN = ["id", "created_at", "updated_at", "version"]
_WHOLE: dict[str, Any] = {"min_value": 0, "max_value": 10**12}


class MoneySerializer(serializers.Serializer[Any]):
    """An amount as a decimal string with its currency."""

    amount = serializers.CharField()
    currency = serializers.CharField()


def as_money(minor: int, currency: str) -> dict[str, str]:
    return {"amount": money.amount(minor, currency), "currency": currency}


class ServiceSerializer(EntitySerializer):
    class Meta:
        model = Service
        fields = [
            "id",
            "use_case",
            "model",
            "code",
            "name",
            "summary",
            "state",
            "sla_text",
            "published_at",
            "created_at",
            "updated_at",
            "version",
        ]
        read_only_fields = [*_OWN, "state", "published_at"]


class ServiceDetailSerializer(ServiceSerializer):
    """One service with its document and, when a gate of its use case is open again, the reasons."""

    watch = serializers.SerializerMethodField()

    class Meta(ServiceSerializer.Meta):
        fields = [*ServiceSerializer.Meta.fields, "openapi", "watch"]
        read_only_fields = [*ServiceSerializer.Meta.read_only_fields, "openapi"]

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_watch(self, obj: Service) -> list[str]:
        from marketplace.selectors import watch_reasons

        return watch_reasons([obj]).get(obj.pk, [])


class AdmitSerializer(serializers.Serializer[Any]):
    email = serializers.EmailField()


class PlanSerializer(EntitySerializer):
    monthly_fee = serializers.SerializerMethodField()
    monthly_fee_minor = serializers.IntegerField(**_WHOLE, default=0)
    included_units = serializers.IntegerField(**_WHOLE, default=0)
    unit_price_micro = serializers.IntegerField(
        **_WHOLE, default=0, help_text="Price of a row in millionths of the minor unit."
    )
    monthly_quota = serializers.IntegerField(min_value=1, max_value=10**12)
    rate_per_minute = serializers.IntegerField(min_value=1, max_value=100_000, default=600)
    currency = serializers.ChoiceField(choices=list(money.CURRENCIES), default="EUR")

    class Meta:
        model = Plan
        fields = [
            "id",
            "service",
            "name",
            "currency",
            "monthly_fee_minor",
            "monthly_fee",
            "included_units",
            "unit_price_micro",
            "monthly_quota",
            "rate_per_minute",
            "created_at",
            "updated_at",
            "version",
        ]
        read_only_fields = _OWN

    @extend_schema_field(MoneySerializer)
    def get_monthly_fee(self, obj: Plan) -> dict[str, str]:
        return as_money(obj.monthly_fee_minor, obj.currency)


class SubscriptionSerializer(EntitySerializer):
    class Meta:
        model = Subscription
        fields = [
            "id",
            "service",
            "plan",
            "customer",
            "owner",
            "state",
            "internal",
            "started_at",
            "ended_at",
            "period",
            "used_in_period",
            "created_at",
            "updated_at",
            "version",
        ]
        read_only_fields = [*_OWN, "owner", "state", "internal", "started_at", "ended_at", "period", "used_in_period"]


class ClientKeySerializer(EntitySerializer):
    class Meta:
        model = ClientKey
        fields = ["id", "subscription", "name", "prefix", "revoked_at", "last_used_at", *_OWN[1:]]
        read_only_fields = [*_OWN, "subscription", "prefix", "revoked_at", "last_used_at"]


class NewClientKeySerializer(ClientKeySerializer):
    secret = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta(ClientKeySerializer.Meta):
        fields = [*ClientKeySerializer.Meta.fields, "secret"]


class UsageEventSerializer(EntitySerializer):
    class Meta:
        model = UsageEvent
        fields = [
            "id",
            "subscription",
            "key",
            "source",
            "event_id",
            "time",
            "units",
            "rows_refused",
            "model_version_ref",
            "invoice",
        ]
        read_only_fields = fields


class InvoiceSerializer(EntitySerializer):
    total = serializers.SerializerMethodField()

    class Meta:
        model = Invoice
        fields = [
            "id",
            "subscription",
            "number",
            "period",
            "state",
            "total",
            "total_minor",
            "currency",
            "issued_at",
            "paid_at",
            "created_at",
            "updated_at",
            "version",
        ]
        read_only_fields = fields

    @extend_schema_field(MoneySerializer)
    def get_total(self, obj: Invoice) -> dict[str, str]:
        return as_money(obj.total_minor, obj.currency)


class InvoiceLineSerializer(serializers.ModelSerializer[InvoiceLine]):
    amount = serializers.SerializerMethodField()

    class Meta:
        model = InvoiceLine
        fields = ["key", "kind", "period", "description", "units", "unit_price_micro", "amount_minor", "amount"]
        read_only_fields = fields

    @extend_schema_field(MoneySerializer)
    def get_amount(self, obj: InvoiceLine) -> dict[str, str]:
        return as_money(obj.amount_minor, self.context["currency"])


class InvoiceDetailSerializer(InvoiceSerializer):
    lines = serializers.SerializerMethodField()

    class Meta(InvoiceSerializer.Meta):
        fields = [*InvoiceSerializer.Meta.fields, "lines"]
        read_only_fields = fields

    @extend_schema_field(InvoiceLineSerializer(many=True))
    def get_lines(self, obj: Invoice) -> Any:
        return InvoiceLineSerializer(obj.lines.all(), many=True, context={"currency": obj.currency}).data


class NewInvoiceSerializer(serializers.Serializer[Any]):
    subscription = serializers.PrimaryKeyRelatedField(queryset=Subscription.objects.all())
    period = serializers.RegexField(r"^\d{4}-(0[1-9]|1[0-2])$", help_text="A month such as 2026-05.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        request = self.context.get("request")
        if request is not None:
            self.fields["subscription"].queryset = Subscription.objects.permitted(request.user)  # type: ignore[attr-defined]


class LineCheckSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    description = serializers.CharField()
    units = serializers.IntegerField(help_text="Units on the line.")
    event_units = serializers.IntegerField(help_text="Sum over the usage events that stand on it.")
    events = serializers.IntegerField()
    amount_minor = serializers.IntegerField()


class DifferenceSerializer(serializers.Serializer[Any]):
    what = serializers.CharField()
    key = serializers.CharField()
    expected = serializers.CharField()
    found = serializers.CharField()


class CheckSerializer(serializers.Serializer[Any]):
    """An invoice taken apart again: ``holds`` when nothing differs."""

    holds = serializers.BooleanField()
    events = serializers.IntegerField()
    units = serializers.IntegerField()
    total = MoneySerializer()
    total_minor = serializers.IntegerField()
    waiting = serializers.IntegerField(help_text="Events of this month that go on the next invoice.")
    lines = LineCheckSerializer(many=True)
    differences = DifferenceSerializer(many=True)


class PreviewSerializer(CheckSerializer):
    period = serializers.CharField()


def check_data(check: Any) -> dict[str, Any]:
    return {
        "holds": check.holds,
        "events": check.events,
        "units": check.units,
        "total": as_money(check.total_minor, check.currency),
        "total_minor": check.total_minor,
        "waiting": check.waiting,
        "lines": LineCheckSerializer(check.lines, many=True).data,
        "differences": DifferenceSerializer(check.differences, many=True).data,
    }
