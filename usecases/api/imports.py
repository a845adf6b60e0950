"""POST /api/v1/imports: a list as CSV text, as a file or as rows, checked (``dry_run``) or written, whole or in part."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from portal.core.api.viewsets import EtagMixin, IdempotentMixin
from portal.core.errors import InvalidInput
from portal.core.tabular import MAX_ROWS, WINDOWS, read_table
from usecases import imports
from usecases.models import UseCase


class ImportSerializer(serializers.Serializer[Any]):
    """One of ``text``, ``file`` and ``rows``."""

    kind = serializers.CharField(max_length=40, help_text="One of those that GET /imports names.")
    dry_run = serializers.BooleanField(default=False, help_text="Check every row and write nothing.")
    partial = serializers.BooleanField(  # type: ignore[assignment]
        default=False, help_text="Write the good rows even when others are refused."
    )
    text = serializers.CharField(
        required=False, trim_whitespace=False, help_text="CSV; the first row names the columns."
    )
    file = serializers.CharField(required=False, help_text="A CSV or XLSX file in base64.")
    rows = serializers.ListField(
        child=serializers.DictField(),
        required=False,
        max_length=MAX_ROWS,
        help_text="Objects with the columns as names.",
    )

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if unknown := set(self.initial_data) - set(self.fields):
            raise ValidationError(dict.fromkeys(sorted(map(str, unknown)), _("There is no such field.")))
        given = [name for name in ("text", "file", "rows") if name in data]
        if len(given) != 1:
            raise ValidationError({"text": _("Give one of text, file and rows.")})
        return data


class ImportProblemSerializer(serializers.Serializer[Any]):
    row = serializers.IntegerField(help_text="As in the file: the header is row 1.")
    field = serializers.CharField()
    message = serializers.CharField()


class ImportReportSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    rows = serializers.IntegerField()
    new = serializers.IntegerField()
    changed = serializers.IntegerField()
    same = serializers.IntegerField()
    refused = serializers.IntegerField()
    written = serializers.IntegerField()
    problems = ImportProblemSerializer(many=True)


class ImportColumnSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    about = serializers.CharField()
    example = serializers.CharField(allow_blank=True)
    needed = serializers.BooleanField()


class ImportKindSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    about = serializers.CharField()
    columns = ImportColumnSerializer(many=True)


class ImportViewSet(EtagMixin, IdempotentMixin):
    """Lists brought in; every row is asked about and written as if somebody had typed it."""

    queryset = UseCase.objects.all()
    serializer_class = ImportSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(responses=ImportKindSerializer(many=True), operation_id="imports_kinds")
    @action(detail=False, methods=["get"], url_path="imports", url_name="imports")
    def kinds(self, request: Request) -> Response:
        """What can be brought in, and in which columns."""
        found = [
            {"kind": key, "label": reader.label, "about": reader.about, "columns": reader.columns}
            for key, reader in imports.readers().items()
        ]
        return self.with_etag(request, ImportKindSerializer(found, many=True).data)

    @extend_schema(request=ImportSerializer, responses=ImportReportSerializer, operation_id="imports_run")
    @kinds.mapping.post
    def bring_in(self, request: Request) -> Response:
        """Check a list, or write it. With a refused row nothing is written (400, each problem with its row) unless ``partial``."""
        imports.require_somewhere(request.user)
        asked = ImportSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        data = asked.validated_data
        given = next(name for name in ("text", "file", "rows") if name in data)
        try:
            table = self.table(data)
            if data["dry_run"]:
                report = imports.import_plan(actor=request.user, kind=data["kind"], table=table)
            else:
                report = imports.import_run(actor=request.user, kind=data["kind"], table=table, partial=data["partial"])
        except InvalidInput as error:
            # The reader knows files only; here the list came under one of three names.
            for row in error.errors:
                row["field"] = given if row["field"] == "file" else row["field"]
            raise
        return Response(ImportReportSerializer(report.as_data()).data)

    def table(self, data: dict[str, Any]) -> Any:
        if "rows" in data:
            return imports.table_of_rows(data["rows"])
        if "text" in data:
            return imports.table_of_text(data["text"])
        try:
            content = base64.b64decode(data["file"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValidationError({"file": _("This is not base64.")}) from error
        return read_table(content, WINDOWS)
