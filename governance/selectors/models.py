"""Models and their versions for pages: what is live, how good it is, whether its package is what was signed."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db.models import Count, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext as _

from governance import artefacts
from governance.backends import release_backend
from governance.choices import VersionState
from governance.models import Batch, Model, ModelVersion, Pipeline
from portal.core.errors import DomainError
from portal.core.templatetags.phasegate import quantity


def models_for(user: Any) -> QuerySet[Any]:
    """Models that the user may see with their live version and how many there are."""
    live = ModelVersion.objects.filter(model=OuterRef("pk"), state=VersionState.LIVE).order_by("-number")
    return (
        Model.objects.permitted(user)
        .select_related("use_case", "standing_approval_by")
        .annotate(
            live_id=Subquery(live.values("pk")[:1]),
            live_number=Subquery(live.values("number")[:1]),
            live_metrics=Subquery(live.values("metrics")[:1]),
            live_quantisation=Subquery(live.values("quantisation")[:1]),
            versions_count=Count("versions"),
            refused_count=Count("versions", filter=Q(versions__state=VersionState.REFUSED)),
        )
        .order_by("name", "id")
    )


def quality(metrics: dict[str, Any] | None, unit: str) -> str:
    """The figure that counts, in words: "4.1 mg/m3 off" for a soft sensor, its false alarms for a detector."""
    known = metrics or {}
    if known.get("mae") is not None:
        return _("typically off by %(mae)s %(unit)s") % {"mae": quantity(known["mae"]), "unit": unit}
    if known.get("false_alarm_rate") is not None:
        return _("%(rate)s of healthy rows raise an alarm") % {"rate": f"{known['false_alarm_rate']:.1%}"}
    if known.get("threshold") is not None:
        return _("alarm above a score of %(threshold)s") % {"threshold": quantity(known["threshold"])}
    return ""


_NAMES = {
    "mae": "Typical error (mean absolute)",
    "rmse": "Root mean squared error",
    "r2": "R² (1 is perfect, 0 is as good as the mean)",
    "bias": "Mean of actual minus predicted",
    "rows": "Rows judged",
    "detection_rate": "Faulty rows found",
    "false_alarm_rate": "Healthy rows that raise an alarm",
    "precision": "Alarms that are faults",
    "f1": "F1",
    "faulty_rows": "Faulty rows judged",
    "healthy_rows": "Healthy rows judged",
    "threshold": "Alarm threshold",
    "threshold_quantile": "Quantile of healthy scores at the threshold",
    "parity_max_abs": "Largest difference between trained model and file",
}
_WITH_UNIT = {"mae", "rmse", "bias", "parity_max_abs"}


def _figure(value: float) -> str:
    """Four digits; very small figures by their power of ten rather than as 0.000."""
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else quantity(value, 4)


def metric_rows(version: ModelVersion) -> list[tuple[str, str]]:
    """Every figure of a version with its name and unit."""
    unit = version.model.unit
    return [
        (_(_NAMES.get(key, key)), f"{_figure(value)} {unit}".strip() if key in _WITH_UNIT else _figure(value))
        for key, value in version.metrics.items()
    ]


# What every signed manifest begins with (governance.modelling.package.MANIFEST_MARK, whose import costs seconds).
MANIFEST_MARK = b"phasegate-manifest-v1\n"


def _fits(version: ModelVersion, public_key: bytes) -> bool:
    try:
        seal = base64.b64decode(version.signature, validate=True)
        Ed25519PublicKey.from_public_bytes(public_key).verify(seal, MANIFEST_MARK + version.manifest.encode())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def verification(version: ModelVersion) -> list[dict[str, Any]]:
    """The package checked now, ``{label, state, text}``: the file against its hash, the manifest against the file, the signature."""
    rows = []
    try:
        artefacts.load(version.sha256)
        rows.append({"label": _("File"), "state": "ok", "text": _("is there and has the hash it is named by")})
    except DomainError as error:
        rows.append({"label": _("File"), "state": "breach", "text": error.message})
    try:
        manifest = json.loads(version.manifest)
    except json.JSONDecodeError:
        manifest = {}
    same = manifest.get("sha256") == version.sha256 and manifest.get("model_version") == str(version.pk)
    rows.append(
        {
            "label": _("Manifest"),
            "state": "ok" if same else "breach",
            "text": _("names this file and this version") if same else _("names another file or version"),
        }
    )
    if not version.signature:
        rows.append({"label": _("Signature"), "state": "not_measured", "text": _("nobody has signed it")})
        return rows
    valid = any(_fits(version, key) for key in artefacts.public_keys().values())
    rows.append(
        {
            "label": _("Signature"),
            "state": "ok" if valid else "breach",
            "text": _("Ed25519, made with this portal's key over the manifest")
            if valid
            else _("does not fit the manifest"),
        }
    )
    return rows


def quantisation_rows(version: ModelVersion) -> list[tuple[str, str]]:
    """The quantisation report in rows: its verdict and reason, or the accuracy delta against 32-bit floats."""
    report = version.quantisation_report or {}
    rows = [(_("Precision"), str(version.get_quantisation_display()))]
    if report.get("reason"):
        rows.append((_("Reason"), str(report["reason"])))
    if report.get("fp32_bytes"):
        rows.append((_("File as 32-bit floats"), f"{report['fp32_bytes'] / 1024:,.1f} KiB"))
    if report.get("int8_bytes"):
        rows.append((_("File as 8-bit integers"), f"{report['int8_bytes'] / 1024:,.1f} KiB"))
    delta = report.get("accuracy") or {}
    if delta:
        rows.append((_("Rows judged by both"), f"{delta.get('rows', 0):,}"))
        rows.append((_("Rows judged alike"), f"{delta.get('alarm_agreement', 0):.2%}"))
        rows.append((_("Correlation of the scores"), quantity(delta.get("score_correlation"), 5)))
        if delta.get("f1_delta") is not None:
            rows.append((_("Change of F1"), f"{delta['f1_delta']:+.4f}"))
    return rows


@dataclass(frozen=True)
class Service:
    """Plant time of the first prediction at a site, and of the last one; ``until`` None while a version is installed there."""

    since: datetime
    until: datetime | None


def in_service(site: Any) -> Service | None:
    """Since when models run at a site, of all its adoptions together; None before the first prediction."""
    predicted = Batch.objects.filter(pipeline__adoption__site=site, model_version__isnull=False).aggregate(
        first=Min("plant_from"), last=Max("plant_to")
    )
    if predicted["first"] is None:
        return None
    backend = release_backend()
    pipelines = Pipeline.objects.filter(adoption__site=site).select_related("adoption", "model").order_by("pk")
    running = any(backend.live_version(adoption=row.adoption, model=row.model) is not None for row in pipelines)
    return Service(predicted["first"], None if running else predicted["last"])
