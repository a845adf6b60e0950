"""Resources of the marketplace. Reads are permitted rows; writes call services."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import filters, models, selectors, services
from marketplace.api import serializers as shapes
from portal.core.access import require
from portal.core.api.viewsets import BaseViewSet, CreateMixin, EntityViewSet, ReadViewSet, UpdateMixin

_TIMES = ("created_at", "updated_at", "id")


class ServiceViewSet(CreateMixin, UpdateMixin, BaseViewSet):
    queryset = models.Service.objects.select_related("use_case", "model")
    serializer_class = shapes.ServiceSerializer
    filterset_class = filters.ServiceFilter
    ordering_fields = ("name", "code", "published_at", *_TIMES)
    create_permission = "marketplace.add_service"
    container_field = "use_case"
    bulk: Any = None  # a service is packaged one at a time

    def get_serializer_class(self) -> Any:
        return shapes.ServiceSerializer if self.action == "list" else shapes.ServiceDetailSerializer

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset.none()
        visible = selectors.catalogue(self.request.user).values("pk")
        return super().get_queryset().filter(pk__in=visible)

    def get_object_for(self, action_name: str = "view") -> Any:
        obj = super().get_object_for("view")
        if not selectors.catalogue(self.request.user).filter(pk=obj.pk).exists():
            from django.http import Http404

            raise Http404
        if action_name != "view":
            require(obj, self.request.user, action_name)
        return obj

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.service_create(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        return services.service_update(
            actor=self.request.user, service=obj, data=data, expected_version=expected_version
        )

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        # The watch follows the gates, so the row's own version is not the whole of what is read.
        return self.with_etag(request, self.get_serializer(self.get_object_for("view")).data)

    def expected_version(self, request: Request, obj: Any) -> int | None:
        asked = request.headers.get("If-Match")
        tag = self.with_etag(request, self.get_serializer(obj).data)["ETag"] if asked else None
        if tag is not None and tag in {t.strip().removeprefix("W/") for t in (asked or "").split(",")}:
            return obj.version
        return super().expected_version(request, obj)

    def _done(self, obj: Any) -> Response:
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})

    @extend_schema(request=None, responses=shapes.ServiceDetailSerializer)
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, pk: str) -> Response:
        """Into the catalogue; refused (409) until gate 5 of the use case is passed and the package is complete."""
        obj = self.get_object_for("change")
        return self._done(services.service_publish(actor=request.user, service=obj))

    @extend_schema(request=None, responses=shapes.ServiceDetailSerializer)
    @action(detail=True, methods=["post"])
    def package(self, request: Request, pk: str) -> Response:
        """Write the OpenAPI document from the model's contract as it is now."""
        obj = self.get_object_for("change")
        return self._done(services.service_package(actor=request.user, service=obj))

    @extend_schema(request=None, responses=shapes.ServiceDetailSerializer)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Out of the catalogue; its subscriptions end."""
        obj = self.get_object_for("change")
        return self._done(services.service_retire(actor=request.user, service=obj))

    @extend_schema(request=shapes.AdmitSerializer, responses=shapes.ServiceDetailSerializer)
    @action(detail=True, methods=["post"])
    def admit(self, request: Request, pk: str) -> Response:
        """Let a person with an account see and use this service as an external partner."""
        obj = self.get_object_for("change")
        asked = shapes.AdmitSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        services.partner_admit(actor=request.user, service=obj, email=asked.validated_data["email"])
        return self._done(obj)


class PlanViewSet(EntityViewSet):
    queryset = models.Plan.objects.select_related("service")
    serializer_class = shapes.PlanSerializer
    filterset_class = filters.PlanFilter
    ordering_fields = ("name", *_TIMES)
    container_field = "service"

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.plan_create(actor=self.request.user, **data)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        return services.plan_update(actor=self.request.user, plan=obj, data=data, expected_version=expected_version)


class SubscriptionViewSet(CreateMixin, BaseViewSet):
    queryset = models.Subscription.objects.select_related("service", "plan", "owner")
    serializer_class = shapes.SubscriptionSerializer
    filterset_class = filters.SubscriptionFilter
    ordering_fields = ("customer", "started_at", *_TIMES)
    bulk: Any = None  # a person subscribes to one thing at a time

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.subscription_create(actor=self.request.user, **data)

    def _done(self, obj: Any) -> Response:
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})

    def _sold(self) -> Any:
        obj = self.get_object_for("view")
        require(obj.service, self.request.user, "change")
        return obj

    @extend_schema(request=None, responses=shapes.SubscriptionSerializer)
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        """For good; what was used is still invoiced."""
        obj = self.get_object_for("change")
        return self._done(services.subscription_end(actor=request.user, subscription=obj))

    @extend_schema(request=None, responses=shapes.SubscriptionSerializer)
    @action(detail=True, methods=["post"])
    def suspend(self, request: Request, pk: str) -> Response:
        """Refuse its keys until it is resumed; for those who run the service."""
        return self._done(services.subscription_suspend(actor=request.user, subscription=self._sold()))

    @extend_schema(request=None, responses=shapes.SubscriptionSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        return self._done(services.subscription_resume(actor=request.user, subscription=self._sold()))

    @extend_schema(responses=shapes.PreviewSerializer)
    @action(detail=True, methods=["get"])
    def preview(self, request: Request, pk: str) -> Response:
        """What the running month would be invoiced at if it ended now, checked against its events."""
        preview = services.invoice_preview(self.get_object_for("view"))
        return Response({"period": preview.period.key} | shapes.check_data(preview.check))

    @extend_schema(request=shapes.ClientKeySerializer, responses={201: shapes.NewClientKeySerializer})
    @action(detail=True, methods=["post"])
    def keys(self, request: Request, pk: str) -> Response:
        """A new client key. Its text is in this answer and nowhere else."""
        obj = self.get_object_for("change")
        asked = shapes.ClientKeySerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        key, secret = services.client_key_create(
            actor=request.user, subscription=obj, name=asked.validated_data["name"]
        )
        body = shapes.ClientKeySerializer(key, context=self.get_serializer_context()).data | {"secret": secret}
        return Response(body, status=201, headers={"ETag": key.etag, "Cache-Control": "no-store"})


class ClientKeyViewSet(ReadViewSet):
    queryset = models.ClientKey.objects.select_related("subscription")
    serializer_class = shapes.ClientKeySerializer
    filterset_class = filters.ClientKeyFilter
    ordering_fields = _TIMES

    @extend_schema(request=None, responses=shapes.ClientKeySerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        obj = self.get_object_for("change")
        services.client_key_revoke(actor=request.user, key=obj)
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})


class UsageEventViewSet(ReadViewSet):
    queryset = models.UsageEvent.objects.select_related("subscription")
    serializer_class = shapes.UsageEventSerializer
    filterset_class = filters.UsageEventFilter
    ordering_fields = ("time", *_TIMES)


class InvoiceViewSet(BaseViewSet):
    queryset = models.Invoice.objects.select_related("subscription__service", "subscription__plan")
    serializer_class = shapes.InvoiceSerializer
    filterset_class = filters.InvoiceFilter
    ordering_fields = ("period", "number", *_TIMES)

    def get_serializer_class(self) -> Any:
        return shapes.InvoiceSerializer if self.action == "list" else shapes.InvoiceDetailSerializer

    @extend_schema(request=shapes.NewInvoiceSerializer, responses={201: shapes.InvoiceDetailSerializer})
    def create(self, request: Request) -> Response:
        """Draw up the draft of a month that is over; a second call gives the same one."""
        asked = shapes.NewInvoiceSerializer(data=request.data, context=self.get_serializer_context())
        asked.is_valid(raise_exception=True)
        subscription = asked.validated_data["subscription"]
        require(subscription.service, request.user, "change")
        made = services.invoice_draft(actor=request.user, **asked.validated_data)
        headers = {"Location": f"{request.path.rstrip('/')}/{made.pk}", "ETag": made.etag}
        return Response(self.get_serializer(made).data, status=201, headers=headers)

    @extend_schema(request=None, responses=shapes.InvoiceDetailSerializer)
    @action(detail=True, methods=["post"])
    def issue(self, request: Request, pk: str) -> Response:
        """Send it; refused (409) when it does not reconcile to the last row."""
        obj = self.get_object_for("change")
        made = services.invoice_issue(actor=request.user, subscription=obj.subscription, period=obj.period)
        return Response(self.get_serializer(made).data, headers={"ETag": made.etag})

    @extend_schema(request=None, responses=shapes.InvoiceDetailSerializer)
    @action(detail=True, methods=["post"])
    def pay(self, request: Request, pk: str) -> Response:
        """Note that it was paid."""
        obj = self.get_object_for("change")
        services.invoice_pay(actor=request.user, invoice=obj)
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})

    @extend_schema(responses=shapes.CheckSerializer)
    @action(detail=True, methods=["get"])
    def reconcile(self, request: Request, pk: str) -> Response:
        """Take the invoice apart: each line beside the sum of its usage events, and all that differs."""
        return Response(shapes.check_data(services.invoice_reconcile(self.get_object_for("view"))))
