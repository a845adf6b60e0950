"""/api/v1/people: accounts, their roles and where these hold. For those who manage people; for others nobody is there."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters
from django.apps import apps
from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core import people
from portal.core.api.viewsets import BaseViewSet, EntitySerializer, UpdateMixin
from portal.core.errors import InvalidInput
from portal.core.models import User
from portal.core.people import KINDS, PersonState, RoleOn
from portal.core.roles import ROLES

ROLE_CHOICES = [(role.key, role.label) for role in ROLES.values()]
_INVITED = Q(password__startswith="!", last_login=None)  # noqa: S106


class PersonFilter(django_filters.FilterSet):
    """Of the page and the API."""

    q = django_filters.CharFilter(method="matches", label="Name, address or organisation")
    role = django_filters.ChoiceFilter(field_name="groups__name", choices=ROLE_CHOICES, label="Role", empty_label="Any")
    state = django_filters.ChoiceFilter(
        method="in_state", choices=PersonState.choices, label="State", empty_label="Any"
    )

    class Meta:
        model = User
        fields = ("q", "role", "state")

    def matches(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.filter(Q(name__icontains=value) | Q(email__icontains=value) | Q(organisation__icontains=value))

    def in_state(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        if value == "deactivated":
            return rows.filter(is_active=False)
        active = rows.filter(is_active=True)
        return active.filter(_INVITED) if value == "invited" else active.exclude(_INVITED)


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that are not there, as every body does."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = set(data) - set(self.fields) if isinstance(data, dict) else set()
        if unknown:
            raise serializers.ValidationError(dict.fromkeys(sorted(unknown), "There is no such field."))
        return super().to_internal_value(data)


def _ids() -> serializers.ListField:
    return serializers.ListField(child=serializers.UUIDField(), required=False, max_length=1000)


class RoleOnSerializer(StrictSerializer):
    """A role and the ids of what it holds on."""

    role = serializers.ChoiceField(choices=ROLE_CHOICES)
    sites = _ids()
    use_cases = _ids()
    services = _ids()


class InvitationSerializer(StrictSerializer):
    email = serializers.EmailField(max_length=254)
    name = serializers.CharField(max_length=120, required=False, allow_blank=True)
    organisation = serializers.CharField(max_length=120, required=False, allow_blank=True)
    roles = RoleOnSerializer(many=True, required=False, max_length=len(ROLES))  # type: ignore[call-arg]


class PersonSerializer(EntitySerializer):
    state = serializers.ChoiceField(choices=PersonState.choices, read_only=True)
    roles = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = [
            "id",
            "email",
            "name",
            "organisation",
            "state",
            "is_active",
            "is_superuser",
            "roles",
            "last_login",
            "date_joined",
        ]
        read_only_fields = ["id", "is_active", "is_superuser", "last_login", "date_joined"]

    @extend_schema_field(RoleOnSerializer(many=True))
    def get_roles(self, person: User) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {
            group.name: {"role": group.name} | {word: [] for word in KINDS} for group in person.groups.all()
        }
        word_of = {label: word for word, label in KINDS.items()}
        for grant in person.role_grants.all():
            if grant.role in found and grant.container in word_of:
                found[grant.role][word_of[grant.container]].append(str(grant.container_id))
        return [
            {key: sorted(value) if isinstance(value, list) else value for key, value in found[name].items()}
            for name in sorted(found)
        ]


class InvitedSerializer(PersonSerializer):
    """``set_password_url`` is shown this once."""

    def get_fields(self) -> dict[str, serializers.Field]:
        return super().get_fields() | {
            "set_password_url": serializers.CharField(read_only=True),
            "valid_until": serializers.DateTimeField(read_only=True),
        }


class PersonViewSet(UpdateMixin, BaseViewSet):
    queryset = User.objects.prefetch_related("groups", "role_grants")
    serializer_class = PersonSerializer
    filterset_class = PersonFilter
    ordering_fields: ClassVar[tuple[str, ...]] = ("email", "name", "date_joined", "id")
    default_ordering: ClassVar[tuple[str, ...]] = ("email",)
    http_method_names = ["get", "post", "patch", "head", "options"]
    writes_need_whole_scope = True

    @extend_schema(request=InvitationSerializer, responses={201: InvitedSerializer})
    def create(self, request: Request) -> Response:
        """Invite: an account, its roles, and a link that sets the password once."""
        body = InvitationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        people.require_manager(request.user)
        data = dict(body.validated_data)
        wanted = [
            RoleOn(row["role"], self._containers(row, f"roles[{at}].")) for at, row in enumerate(data.pop("roles", ()))
        ]
        made = people.person_invite(actor=request.user, roles=wanted, **data)
        return self._invited(made, 201)

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: Any) -> Any:
        people.person_update(actor=self.request.user, person=obj, data=data, expected_version=expected_version)
        return self.queryset.get(pk=obj.pk)

    @extend_schema(request=RoleOnSerializer, responses=PersonSerializer)
    @action(detail=True, methods=["post"])
    def grant(self, request: Request, pk: str) -> Response:
        """Give a role, or more places to a role."""
        return self._roles(request, people.person_grant)

    @extend_schema(request=RoleOnSerializer, responses=PersonSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """Take places of a role back; without places the whole role."""
        return self._roles(request, people.person_revoke)

    @extend_schema(request=None, responses=PersonSerializer)
    @action(detail=True, methods=["post"])
    def deactivate(self, request: Request, pk: str) -> Response:
        person = self.get_object_for("change")
        expected = self.expected_version(request, person)
        people.person_deactivate(actor=request.user, person=person, expected_version=expected)  # type: ignore[arg-type]
        return self._now(person)

    @extend_schema(request=None, responses=PersonSerializer)
    @action(detail=True, methods=["post"])
    def activate(self, request: Request, pk: str) -> Response:
        person = self.get_object_for("change")
        expected = self.expected_version(request, person)
        people.person_activate(actor=request.user, person=person, expected_version=expected)  # type: ignore[arg-type]
        return self._now(person)

    @extend_schema(request=None, responses=InvitedSerializer)
    @action(detail=True, methods=["post"])
    def link(self, request: Request, pk: str) -> Response:
        """A new link to set a password; the former link and password end."""
        person = self.get_object_for("change")
        return self._invited(people.person_relink(actor=request.user, person=person), 200)

    def _roles(self, request: Request, service: Any) -> Response:
        person = self.get_object_for("change")
        body = RoleOnSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        row = body.validated_data
        service(
            actor=request.user,
            person=person,
            role=row["role"],
            containers=self._containers(row),
            expected_version=self.expected_version(request, person),
        )
        return self._now(person)

    def _containers(self, row: dict[str, Any], where: str = "") -> tuple[Any, ...]:
        """The named containers that the asker may see; 400 at the field for one that is not there."""
        found: list[Any] = []
        for word, label in KINDS.items():
            asked = set(row.get(word, ()))
            rows = (
                list(apps.get_model(label).objects.permitted(self.request.user).filter(pk__in=asked)) if asked else []
            )
            if len(rows) < len(asked):
                missing = sorted(str(one) for one in asked - {row.pk for row in rows})
                raise InvalidInput({f"{where}{word}": f"Not there: {', '.join(missing[:5])}."})
            found += rows
        return tuple(found)

    def _now(self, person: User, status: int = 200, **more: Any) -> Response:
        fresh = self.queryset.get(pk=person.pk)
        return Response(self.get_serializer(fresh).data | more, status=status, headers={"ETag": fresh.etag})

    def _invited(self, made: people.Invitation, status: int) -> Response:
        response = self._now(made.person, status, set_password_url=made.url, valid_until=made.valid_until)
        if status == 201:
            response["Location"] = f"{self.request.path}/{made.person.pk}"
        return response


__all__ = ["PersonFilter", "PersonViewSet"]
