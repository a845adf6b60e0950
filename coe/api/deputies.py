"""/api/v1/deputies: who signs in whose place. One sees one's own; whoever manages people sees all."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from coe import models, services
from coe.api.views import _Verbs
from coe.deputies import DeputyFilter
from portal.core.api.viewsets import CreateMixin, EntitySerializer


class DeputySerializer(EntitySerializer):
    class Meta:
        model = models.Deputy
        fields = [
            "id",
            "person",
            "deputy",
            "site",
            "valid_from",
            "valid_until",
            "reason",
            "revoked_at",
            "revoked_by",
            "created_at",
            "updated_at",
            "version",
        ]
        read_only_fields = ["revoked_at", "revoked_by"]
        extra_kwargs: ClassVar[dict[str, Any]] = {
            "person": {"required": False, "help_text": "Who is away; yourself when left out."},
            "valid_from": {"required": False, "help_text": "From now on when left out."},
        }
        validators: ClassVar[list[Any]] = []


class DeputyViewSet(CreateMixin, _Verbs):
    queryset = models.Deputy.objects.all()
    serializer_class = DeputySerializer
    filterset_class = DeputyFilter
    ordering_fields = ("valid_from", "valid_until", "created_at", "updated_at", "id")

    def perform_create(self, data: dict[str, Any]) -> Any:
        return services.deputy_name(actor=self.request.user, **data)

    @extend_schema(request=None, responses=DeputySerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """End it now. What the deputy signed before stays signed."""
        obj = self.get_object_for("change")
        expected = self.expected_version(request, obj)
        return self._conditional(obj, services.deputy_revoke, deputy=obj, expected_version=expected)
