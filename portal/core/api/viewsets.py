"""The base of every resource: permitted rows, filters, cursor pages, ETags, conditional writes, idempotent posts, bulk, mirrors."""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from django.db import models, transaction
from django.http import Http404
from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core import exports, prepared
from portal.core.access import PermittedQuerySet, get_permitted, offered, require, require_global
from portal.core.api import idempotency
from portal.core.api.renderers import dumps
from portal.core.api.rows import plan_for
from portal.core.clock import in_calendar
from portal.core.errors import DomainError, PreconditionRequired, StaleWrite
from portal.core.models import Deletion, Entity, User
from portal.core.records import entity_create, entity_delete, entity_update

MAX_BULK = 10_000


NO_FILTER = {"page_size", "ordering", "fields", "format"}


@dataclass(frozen=True)
class _KeptRows:
    """What the paginator needs of a queryset, over a statement that is ordered and cut already."""

    statement: prepared.Statement
    values: dict[Any, Any]
    as_text: bool

    def order_by(self, *_names: str) -> _KeptRows:
        return self

    def __getitem__(self, _cut: slice) -> list[Any]:
        return self.statement.run(self.values, as_text=self.as_text)


class EtagMixin:
    """ETag on reads with 304, ``If-Match`` on writes."""

    if_match_required: ClassVar[bool] = False

    def expected_version(self, request: Request, obj: Any) -> int | None:
        """The version the caller read, from ``If-Match``; 412 when it is not the present one, 428 when it is needed and missing."""
        asked = request.headers.get("If-Match")
        if asked is None:
            if self.if_match_required:
                raise PreconditionRequired
            return None
        if asked.strip() == "*":
            return obj.version
        if obj.etag not in {tag.strip().removeprefix("W/") for tag in asked.split(",")}:
            raise StaleWrite(self.get_serializer(obj).data)  # type: ignore[attr-defined]
        return obj.version

    def with_etag(self, request: Request, data: Any, etag: str | None = None) -> Response:
        if etag is None:
            data = dumps(data)
            etag = f'"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'
        asked = request.headers.get("If-None-Match", "")
        if request.method == "GET" and etag in {tag.strip().removeprefix("W/") for tag in asked.split(",")}:
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": etag})
        return Response(data, headers={"ETag": etag})


class IdempotentMixin(viewsets.GenericViewSet):
    """``Idempotency-Key`` on every POST."""

    _record: Any = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self._record = idempotency.begin(request)

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, idempotency.Answered):
            return idempotency.replay(exc.record)
        return super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._record is not None:
            idempotency.finish(self._record, response)
            self._record = None
        return response


class BaseViewSet(EtagMixin, IdempotentMixin):
    """Reads. ``queryset`` carries the ``select_related`` of the serializer; permission is applied here and nowhere else."""

    lookup_value_regex = "[0-9a-fA-F-]{36}"
    ordering_fields: ClassVar[tuple[str, ...]] = ("created_at", "id")
    default_ordering: ClassVar[tuple[str, ...]] = ("id",)
    filterset_class: Any = None
    # Of PermittedQuerySet, which every entity's manager is made of.
    queryset: Any

    def get_queryset(self) -> models.QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset.none()
        rows = self.queryset.permitted(self.request.user, "view")
        since = self.request.query_params.get("updated_since")
        if since and self.action == "list" and issubclass(self.queryset.model, Entity):
            rows = rows.filter(updated_at__gte=_moment(since, "updated_since"))
        return rows

    def get_object_for(self, action_name: str = "view") -> Any:
        """The addressed row: 404 unseen, 403 when the action is not allowed, 412 when a write names an older version of it."""
        queryset = self.queryset
        if not isinstance(self.kwargs.get("pk"), UUID):
            try:
                UUID(str(self.kwargs["pk"]))
            except ValueError as error:
                raise Http404 from error
        found = get_permitted(queryset, self.request.user, self.kwargs["pk"], action_name)
        if self.request.method not in SAFE_METHODS and "If-Match" in self.request.headers and hasattr(found, "etag"):
            self.expected_version(self.request, found)
        return found

    def _wanted(self, request: Request) -> set[str] | None:
        raw = request.query_params.get("fields")
        if raw is None:
            return None
        wanted = {name.strip() for name in raw.split(",") if name.strip()}
        serializer: Any = self.get_serializer()
        known = {name for name, field in serializer.fields.items() if not field.write_only}
        if not wanted or wanted - known:
            raise ValidationError({"fields": f"Choose from: {', '.join(sorted(known))}."})
        return wanted | {"id"} & known

    @extend_schema(
        parameters=[
            OpenApiParameter("fields", str, description="Only these fields, comma separated."),
            OpenApiParameter("ordering", str, description="Field to order by, with - for descending."),
            OpenApiParameter(
                "updated_since", OpenApiTypes.DATETIME, description="Only rows changed at or after this time."
            ),
            OpenApiParameter("format", str, enum=["json", "csv"], description="csv streams all rows."),
        ]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        serializer_class = self.get_serializer_class()
        wanted = self._wanted(request)
        plan = _plan(serializer_class)
        form = request.query_params.get("format", "json")
        if form not in {"json", "csv"}:
            raise DomainError("format", "format is json or csv.", status=406)
        kept = self.kept_list(request, plan, wanted) if form == "json" and plan is not None else None
        rows = self.filter_queryset(self.get_queryset()) if kept is None else kept
        if form == "csv":
            return self._csv(rows, plan, wanted)
        if plan is None:
            page = self.paginate_queryset(rows)
            data = self.get_serializer(page, many=True).data
            if wanted:
                data = [{name: row[name] for name in row if name in wanted} for row in data]
        else:
            paginator: Any = self.paginator
            first = paginator.get_ordering(request, rows, self)[0].lstrip("-")
            page = self.paginate_queryset(rows if kept is not None else plan.select(rows, wanted, also=(first,)))
            data = plan.shape(page or (), wanted)
        return self.with_etag(request, self.get_paginated_response(data).data)

    def kept_list(self, request: Request, plan: Any, wanted: set[str] | None) -> Any:
        """The first page of a list that nothing but order, size and fields was asked of, as a statement compiled once for all who hold
        the same permissions; None for any other list."""
        user: Any = request.user
        cls: Any = type(self)
        if (
            request.query_params.keys() - NO_FILTER
            or not isinstance(user, User)
            or cls.get_queryset is not BaseViewSet.get_queryset
            or cls.filter_queryset is not BaseViewSet.filter_queryset
            or type(self.queryset).permitted is not PermittedQuerySet.permitted
        ):
            return None
        paginator: Any = self.paginator
        order = paginator.get_ordering(request, self.queryset, self)
        size = paginator.get_page_size(request)
        first = order[0].lstrip("-")
        standing = user.standing.permissions

        def build() -> Any:
            anybody = copy(user)
            anybody.pk = prepared.USER
            rows = plan.select(self.queryset.permitted(anybody, "view"), wanted, also=(first,))
            return rows.order_by(*order)[: size + 1]

        key = (cls, user.is_superuser, standing, order, size, frozenset(wanted or ()))
        statement = prepared.statement(key, build)
        if statement is None:
            return None
        # A time in the cursor keeps its microseconds.
        as_text = not isinstance(self.queryset.model._meta.get_field(first), models.DateTimeField)
        return _KeptRows(statement, {prepared.USER: user.pk}, as_text)

    def _csv(self, rows: Any, plan: Any, wanted: set[str] | None) -> Any:
        rows = rows.order_by("id")
        if plan is not None:
            shaped = plan.shape(plan.select(rows, wanted), wanted, as_text=False)
        else:
            shaped = [dict(row) for row in self.get_serializer(rows, many=True).data]
        serializer: Any = self.get_serializer()
        names = [
            name for name, field in serializer.fields.items() if not field.write_only and (not wanted or name in wanted)
        ]
        return exports.csv_response(
            self.queryset.model._meta.model_name,
            names,
            ([_flat(row[name]) for name in names] for row in shaped),
        )

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        obj = self.get_object_for("view")
        return self.with_etag(request, self.get_serializer(obj).data, getattr(obj, "etag", None))

    @extend_schema(
        parameters=[OpenApiParameter("since", OpenApiTypes.DATETIME, required=True)],
        responses={200: OpenApiTypes.OBJECT},
        filters=False,
    )
    @action(detail=False, methods=["get"], url_path="deleted", filterset_class=None, pagination_class=None)
    def deleted(self, request: Request) -> Response:
        """Ids of the rows that are gone since a time, for a mirror."""
        since = _moment(request.query_params.get("since", ""), "since")
        label = f"{self.queryset.model._meta.app_label}.{self.queryset.model.__name__}"
        rows = Deletion.objects.permitted(request.user).filter(object_type=label, deleted_at__gte=since)[:10_000]
        return Response({"results": [{"id": row.object_id, "deleted_at": row.deleted_at} for row in rows]})


class WriteMixin:
    """Create, change, delete. Override ``perform_*`` to call a service where the write has rules."""

    # How a new row's container is found in the validated data: field name, and the verb needed on it.
    container_field: ClassVar[str] = ""
    create_verb: ClassVar[str] = "change"
    create_permission: ClassVar[str] = ""
    many_fields: ClassVar[tuple[str, ...]] = ()

    def check_create(self, data: dict[str, Any]) -> None:
        """403 unless the user may add rows to the container named in the data (or holds the global permission)."""
        user = self.request.user  # type: ignore[attr-defined]
        if self.create_permission:
            require_global(user, self.create_permission, "create")
        if self.container_field:
            container: Any = data
            for part in self.container_field.split("__"):
                container = container.get(part) if isinstance(container, dict) else getattr(container, part)
            require(container, user, self.create_verb)

    def split_many(self, data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return {k: v for k, v in data.items() if k not in self.many_fields}, {
            k: v for k, v in data.items() if k in self.many_fields
        }

    def perform_create(self, data: dict[str, Any]) -> Any:
        plain, many = self.split_many(data)
        return entity_create(actor=self.request.user, model=self.queryset.model, data=plain, many=many)  # type: ignore[attr-defined]

    def perform_update(self, obj: Any, data: dict[str, Any], expected_version: int | None) -> Any:
        plain, many = self.split_many(data)
        return entity_update(actor=self.request.user, obj=obj, data=plain, expected_version=expected_version, many=many)  # type: ignore[attr-defined]

    def perform_delete(self, obj: Any) -> None:
        entity_delete(actor=self.request.user, obj=obj)  # type: ignore[attr-defined]


class CreateMixin(WriteMixin):
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)  # type: ignore[attr-defined]
        serializer.is_valid(raise_exception=True)
        self.check_create(serializer.validated_data)
        obj = self.perform_create(dict(serializer.validated_data))
        return self.created(obj)

    def created(self, obj: Any) -> Response:
        body = self.get_serializer(obj).data  # type: ignore[attr-defined]
        path = self.request.path.rstrip("/")  # type: ignore[attr-defined]
        return Response(
            body, status=status.HTTP_201_CREATED, headers={"Location": f"{path}/{obj.pk}", "ETag": obj.etag}
        )

    @extend_schema(
        request=OpenApiTypes.OBJECT,
        responses={200: OpenApiTypes.OBJECT},
        filters=False,
        parameters=[OpenApiParameter("partial", bool, description="Take the good rows even when others are refused.")],
    )
    @action(detail=False, methods=["post"], url_path="bulk", filterset_class=None, pagination_class=None)
    def bulk(self, request: Request) -> Response:
        """Up to 10,000 rows ``{"rows": [...]}``: all or nothing, or with ``?partial=true`` row by row; each refused row with its reason."""
        rows = request.data.get("rows") if isinstance(request.data, dict) else None
        if not isinstance(rows, list) or not rows:
            raise ValidationError({"rows": "A list of one or more rows."})
        if len(rows) > MAX_BULK:
            raise DomainError("too_many_rows", f"At most {MAX_BULK} rows at once.", status=413)
        partial = request.query_params.get("partial", "").lower() in {"1", "true"}
        refused: list[dict[str, Any]] = []
        ids: list[str] = []
        with transaction.atomic():
            for at, row in enumerate(rows):
                try:
                    with transaction.atomic():
                        serializer = self.get_serializer(data=row)  # type: ignore[attr-defined]
                        serializer.is_valid(raise_exception=True)
                        self.check_create(serializer.validated_data)
                        ids.append(str(self.perform_create(dict(serializer.validated_data)).pk))
                except ValidationError as error:
                    from portal.core.api.problems import flatten

                    refused.append({"row": at, "errors": flatten(error.detail)})
                except DomainError as error:
                    refused.append({"row": at, "errors": error.errors or [{"field": "", "message": error.message}]})
            if refused and not partial:
                transaction.set_rollback(True)
        if refused and not partial:
            raise DomainError(
                "rows_refused",
                f"{len(refused)} of {len(rows)} rows are not valid; nothing was written.",
                {"refused": refused},
                status=400,
            )
        return Response({"written": len(ids), "ids": ids, "refused": refused})


class UpdateMixin(WriteMixin):
    update_verb: ClassVar[str] = "change"

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        obj = self.get_object_for(self.update_verb)  # type: ignore[attr-defined]
        expected = self.expected_version(request, obj)  # type: ignore[attr-defined]
        serializer = self.get_serializer(obj, data=request.data, partial=True)  # type: ignore[attr-defined]
        serializer.is_valid(raise_exception=True)
        try:
            obj = self.perform_update(obj, dict(serializer.validated_data), expected)
        except StaleWrite as error:
            obj.refresh_from_db()
            raise StaleWrite(self.get_serializer(obj).data) from error  # type: ignore[attr-defined]
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})  # type: ignore[attr-defined]


class DestroyMixin(WriteMixin):
    delete_verb: ClassVar[str] = "change"

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        obj = self.get_object_for(self.delete_verb)  # type: ignore[attr-defined]
        self.expected_version(request, obj)  # type: ignore[attr-defined]
        self.perform_delete(obj)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ExternalMixin(CreateMixin, UpdateMixin):
    """``PUT /{noun}/by-external-id/{source}/{id}`` creates or changes the row that another system knows by its own key."""

    @extend_schema(filters=False)
    @action(
        detail=False,
        methods=["put"],
        url_path=r"by-external-id/(?P<source>[A-Za-z0-9_.-]{1,60})/(?P<key>[^/]{1,200})",
        filterset_class=None,
        pagination_class=None,
    )
    def by_external_id(self, request: Request, source: str, key: str) -> Response:
        queryset = self.queryset  # type: ignore[attr-defined]
        found = queryset.permitted(request.user, "view").filter(external_source=source, external_id=key).first()
        if found is None:
            serializer = self.get_serializer(data=request.data)  # type: ignore[attr-defined]
            serializer.is_valid(raise_exception=True)
            data = dict(serializer.validated_data) | {"external_source": source, "external_id": key}
            self.check_create(data)
            return self.created(self.perform_create(data))
        require(found, request.user, self.update_verb)
        expected = self.expected_version(request, found)  # type: ignore[attr-defined]
        serializer = self.get_serializer(found, data=request.data, partial=True)  # type: ignore[attr-defined]
        serializer.is_valid(raise_exception=True)
        obj = self.perform_update(found, dict(serializer.validated_data), expected)
        return Response(self.get_serializer(obj).data, headers={"ETag": obj.etag})  # type: ignore[attr-defined]


class ReadViewSet(BaseViewSet):
    """List and detail."""


class EntityViewSet(CreateMixin, UpdateMixin, DestroyMixin, BaseViewSet):
    """List, detail, create, change, delete."""

    http_method_names = ["get", "post", "patch", "put", "delete", "head", "options"]


class EntitySerializer(serializers.ModelSerializer[Any]):
    """Base of the resources' serializers: id, times and version are read-only; related rows must be visible to the user."""

    def get_fields(self) -> dict[str, serializers.Field]:
        fields = super().get_fields()
        request = self.context.get("request")
        user = getattr(request, "user", None)
        for field in fields.values():
            related: Any = getattr(field, "child_relation", field)
            queryset = getattr(related, "queryset", None)
            if queryset is not None and hasattr(queryset, "permitted") and user is not None:
                related.queryset = offered(queryset, user)
        return fields

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = set(data) - set(self.fields)
            if unknown:
                raise ValidationError(dict.fromkeys(sorted(unknown), "There is no such field."))
        return super().to_internal_value(data)


_plans: dict[Any, Any] = {}


def _plan(serializer_class: Any) -> Any:
    if serializer_class not in _plans:
        _plans[serializer_class] = plan_for(serializer_class)
    return _plans[serializer_class]


def _flat(value: Any) -> Any:
    return dumps(value).decode() if isinstance(value, (dict, list)) else value


def _moment(text: str, name: str) -> Any:
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not in_calendar(moment):
        raise ValidationError({name: "A time such as 2026-01-31T12:00:00Z."})
    return moment
