"""The frozen document of a review as a file, for page and API."""

from __future__ import annotations

from django.http import HttpResponse

from usecases.models import GateReview


def document_response(review: GateReview) -> HttpResponse:
    name = f"gate-{review.gate.number}-{review.gate.use_case.code}-{review.snapshot_sha256[:12]}.json"
    answer = HttpResponse(review.snapshot_text.encode(), content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Digest"] = f"sha-256={review.snapshot_sha256}"
    return answer
