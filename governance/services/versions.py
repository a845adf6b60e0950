"""Model versions: registered in MLflow, mirrored here, signed by somebody who may, refused, live, withdrawn."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import transaction
from django.db.models import Max

from governance import artefacts, signals
from governance.choices import Quantisation, VersionState
from governance.lake import moment
from governance.models import Model, ModelVersion
from portal.core import audit, signing
from portal.core.clock import wall_now
from portal.core.errors import DomainError, InvalidInput
from portal.core.notifications import notify, people_who_may
from portal.core.records import change_state, versioned_update


def _quantisation(package: Any) -> str:
    report = package.quantisation.as_dict()
    if report.get("status") == "not_applicable":
        return Quantisation.NOT_APPLICABLE
    return Quantisation.INT8 if package.precision == "int8" else Quantisation.FP32


def version_register(
    *,
    actor: Any,
    model: Model,
    package: Any,
    key: str,
    predecessor: ModelVersion | None = None,
    refusal: str = "",
    tags: dict[str, str] | None = None,
) -> ModelVersion:
    """Register a package in the model registry and mirror it as a version. A refused challenger is kept too, with its reason.

    ``key`` names the attempt (a retraining's id): a second call with the same key gives the same version, so a worker that died in between
    may run again. The file and the registry come first; the mirror row is written last, in one transaction.
    """
    from governance.modelling import package as packaging
    from governance.registry_client import Registry, RegistryError

    version_id = uuid5(NAMESPACE_URL, f"phasegate:{model.pk}:{key}")
    found = ModelVersion.objects.filter(pk=version_id).first()
    if found is not None:
        return found
    sha256 = artefacts.store(package.onnx)
    manifest = packaging.canonical_json(package.manifest(model=model.code, model_version=str(version_id)))
    try:
        registered = Registry(settings.MLFLOW_TRACKING_URI, artifact_root=settings.MLFLOW_ARTEFACT_ROOT).register(
            model=model.registry_name or model.code,
            onnx=package.onnx,
            key=key,
            documents={"manifest.json": manifest},
            metrics=dict(package.metrics),
            params=dict(package.params),
            tags={"phasegate.version": str(version_id), "phasegate.state": "refused" if refusal else "candidate"}
            | (tags or {}),
        )
    except RegistryError as error:
        raise DomainError(
            "registry", f"The model registry did not take the version: {error}", {"temporary": error.temporary}
        ) from error
    with transaction.atomic():
        Model.objects.select_for_update().get(pk=model.pk)
        number = (model.versions.aggregate(top=Max("number"))["top"] or 0) + 1
        version = ModelVersion.objects.create(
            id=version_id,
            model=model,
            number=number,
            state=VersionState.REFUSED if refusal else VersionState.CANDIDATE,
            registry_version=registered.version,
            registry_run_id=registered.run_id,
            quantisation=_quantisation(package),
            quantisation_report=package.quantisation.as_dict(),
            sha256=sha256,
            size_bytes=package.size,
            manifest=manifest.decode(),
            metrics={k: float(v) for k, v in package.metrics.items()},
            memory_kb=package.memory.total_kb,
            latency_us=float(package.latency.p99_us),
            trained_from=moment(package.plant_time.start_ms),
            trained_to=moment(package.plant_time.end_ms),
            training_rows=package.training_rows,
            training_fingerprint=package.training_fingerprint,
            trained_at=wall_now(),
            predecessor=predecessor,
            refusal=refusal[:300],
        )
        audit.record(
            actor=actor,
            action="model_version.register",
            obj=version,
            changes={"registry_version": registered.version, "refusal": refusal},
        )
    return version


# What the gateway puts before the manifest when it verifies; equal to governance.modelling.package.MANIFEST_MARK (a test compares).
MANIFEST_MARK = b"phasegate-manifest-v1\n"


def _seal(version: ModelVersion) -> str:
    """Ed25519 signature (base64) over the canonical manifest. Imports none of the modelling libraries: people sign in the web process."""
    key = Ed25519PrivateKey.from_private_bytes(artefacts.signing_key())
    return base64.b64encode(key.sign(MANIFEST_MARK + version.manifest.encode())).decode()


@transaction.atomic
def version_sign(*, actor: Any, version: ModelVersion) -> ModelVersion:
    """A person with a valid appointment and certificate signs the version; only then may a gateway run it."""
    verdict = signing.may_sign(user=actor, kind="model_version")
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, status=403)
    _approve(actor, version, {"role": verdict.role, **verdict.basis})
    # A repair that waited for this hand goes on; imported here because retraining itself stands on this module.
    from governance.services.retraining import waiting_release

    waiting_release(actor=actor, version=version)
    return version


@transaction.atomic
def version_sign_by_standing_approval(*, version: ModelVersion) -> bool:
    """Sign under the model's standing approval, if one holds and its signer may still sign now. Says whether it was signed."""
    model = version.model
    now = wall_now()
    if (
        model.standing_approval_by is None
        or model.standing_approval_until is None
        or model.standing_approval_until <= now
    ):
        return False
    verdict = signing.may_sign(user=model.standing_approval_by, kind="model_version", now=now)
    if not verdict.allowed:
        return False
    basis = {"role": verdict.role, **verdict.basis, "standing_approval": model.standing_approval_basis}
    _approve(model.standing_approval_by, version, basis)
    return True


def ask_for_signature(*, version: ModelVersion, site: Any) -> str:
    """Tell those who may sign at the site that the version waits for a hand; returns the sentence."""
    text = f"{version} waits for a signature: there is no standing approval"
    notify(
        user_ids=people_who_may(site, "sign"),
        kind="signature",
        text=text,
        url=version.get_absolute_url(),
        dedupe_key=f"sign:{version.pk}",
    )
    return text


def _approve(signer: Any, version: ModelVersion, basis: dict[str, Any]) -> ModelVersion:
    artefacts.load(version.sha256)
    change_state(
        version,
        old=VersionState.CANDIDATE,
        new=VersionState.APPROVED,
        signature=_seal(version),
        signed_by=signer,
        signed_at=wall_now(),
        signing_basis=basis,
    )
    audit.record(actor=signer, action="model_version.sign", obj=version, changes={"basis": basis})
    return version


@transaction.atomic
def standing_approval_grant(*, actor: Any, model: Model, until: datetime) -> None:
    """Let challengers that pass every check go out without waiting for a hand, until a date at most 180 days away."""
    now = wall_now()
    if until <= now or until > now + timedelta(days=180):
        raise InvalidInput({"until": "Choose a time within the next 180 days."})
    verdict = signing.may_sign(user=actor, kind="model_version", now=now)
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, status=403)
    versioned_update(
        model,
        standing_approval_by=actor,
        standing_approval_until=until,
        standing_approval_basis={"granted_at": now.isoformat(), "role": verdict.role, **verdict.basis},
    )
    audit.record(actor=actor, action="model.standing_approval", obj=model, changes={"until": until})


@transaction.atomic
def standing_approval_revoke(*, actor: Any, model: Model) -> None:
    verdict = signing.may_sign(user=actor, kind="model_version")
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, status=403)
    versioned_update(model, standing_approval_by=None, standing_approval_until=None, standing_approval_basis={})
    audit.record(actor=actor, action="model.standing_approval_revoke", obj=model)


@transaction.atomic
def version_live(*, version: ModelVersion) -> None:
    """The version runs on all gateways of its adoption: it is live, the one before is superseded."""
    ModelVersion.objects.filter(model_id=version.model_id, state=VersionState.LIVE).exclude(pk=version.pk).update(
        state=VersionState.SUPERSEDED
    )
    changed = ModelVersion.objects.filter(
        pk=version.pk, state__in=[VersionState.APPROVED, VersionState.SUPERSEDED]
    ).update(state=VersionState.LIVE)
    if changed:
        version.refresh_from_db()
        audit.record(actor=None, action="model_version.live", obj=version)


@transaction.atomic
def version_withdraw(*, actor: Any, version: ModelVersion, reason: str) -> None:
    """Take a version out of use: it can no longer be rolled out; machines that run it are told by the signal."""
    verdict = signing.may_sign(user=actor, kind="model_version")
    if not verdict.allowed:
        raise DomainError("may_not_sign", verdict.reason, status=403)
    change_state(
        version,
        old=(VersionState.CANDIDATE, VersionState.APPROVED, VersionState.LIVE, VersionState.SUPERSEDED),
        new=VersionState.WITHDRAWN,
        refusal=reason[:300],
    )
    audit.record(actor=actor, action="model_version.withdraw", obj=version, changes={"reason": reason})
    from governance.services.retraining import waiting_abandoned

    waiting_abandoned(version=version, reason=f"Version {version.number} was withdrawn: {reason}")
    signals.version_withdrawn.send(ModelVersion, version=version)
