"""The connector to MLflow's model registry: versions with their figures and file, aliases, and what changed since.

Takes the tracking address as an argument (`sqlite:///...` or `http(s)://...`) and knows nothing of Django. MLflow is
imported on first use and only ever in a worker: it costs four seconds and 190 MB. Calls on one `Registry` are
synchronous; MLflow's own time-outs and retries are process-wide environment variables, set here before the import.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
ARTEFACT_FOLDER = "model"
ARTEFACT_FILE = "model.onnx"
KEY_TAG = "phasegate.key"
SHA256_TAG = "phasegate.sha256"
PAGE_SIZE = 200
PARAM_LIMIT = 500
TEMPORARY = frozenset({"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"})
NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"


class RegistryError(Exception):
    """A call that failed. `code` is MLflow's error code, or `ARTEFACT_MISMATCH` for a file that is not the one registered.

    `temporary` says whether trying again later may help.
    """

    def __init__(self, code: str, message: str, *, temporary: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.temporary = temporary


@dataclass(frozen=True)
class Timeouts:
    """Seconds per request, further attempts, and the factor by which the pause between them grows."""

    request_s: int = 10
    retries: int = 2
    backoff_factor: int = 1


@dataclass(frozen=True)
class Version:
    """A model version as the registry holds it; times are wall time in milliseconds since 1970."""

    model: str
    version: str
    run_id: str
    source: str
    status: str
    created_ms: int
    updated_ms: int
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        return self.tags.get(SHA256_TAG, "")


@dataclass(frozen=True)
class Changes:
    """Versions created or updated since a moment, the aliases of every model now, and the moment to ask from next."""

    versions: tuple[Version, ...]
    aliases: Mapping[str, Mapping[str, str]]
    cursor_ms: int


@dataclass(frozen=True)
class Health:
    """Whether the registry answers, how long that took (milliseconds), and what it said if it did not."""

    ok: bool
    latency_ms: float
    message: str = ""


class Registry:
    """One MLflow tracking server or database; `artifact_root` is needed only where no server proxies the files."""

    def __init__(
        self,
        tracking_uri: str,
        *,
        artifact_root: str | None = None,
        experiment: str = "phasegate",
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root
        self.experiment = experiment
        self.timeouts = timeouts
        self._client: MlflowClient | None = None
        self._experiment_id: str | None = None

    def register(
        self,
        *,
        model: str,
        onnx: bytes,
        key: str,
        documents: Mapping[str, bytes] | None = None,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> Version:
        """Store a file with its figures as the next version of `model`.

        `key` names the attempt (a job id): a second call with the same key returns the version of the first, so a
        worker that died after registering may simply run again. `documents` are further files by name (a manifest).
        """
        with self._translated():
            client = self._open()
            if (existing := self._by_key(client, model, key)) is not None:
                return existing
            self._ensure_model(client, model)
            run = client.create_run(self._ensure_experiment(client), tags={KEY_TAG: key}, run_name=f"{model} {key}")
            run_id = run.info.run_id
            finished = False
            try:
                self._log(client, run_id, metrics or {}, params or {})
                with TemporaryDirectory(prefix="register-") as folder:
                    for name, content in {ARTEFACT_FILE: onnx, **(documents or {})}.items():
                        path = Path(folder, Path(name).name)
                        path.write_bytes(content)
                        client.log_artifact(run_id, str(path), ARTEFACT_FOLDER)
                created = client.create_model_version(
                    name=model,
                    source=f"{run.info.artifact_uri}/{ARTEFACT_FOLDER}",
                    run_id=run_id,
                    tags={**(tags or {}), KEY_TAG: key, SHA256_TAG: hashlib.sha256(onnx).hexdigest()},
                    description=description or None,
                    await_creation_for=0,
                )
                finished = True
            finally:
                client.set_terminated(run_id, "FINISHED" if finished else "FAILED")
            return self.get(model, str(created.version))

    def get(self, model: str, version: str) -> Version:
        """One version with its aliases; RegistryError `RESOURCE_DOES_NOT_EXIST` if there is none."""
        with self._translated():
            return _version(self._open().get_model_version(model, version))

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version an alias points to, or None."""
        try:
            with self._translated():
                number = self._open().get_registered_model(model).aliases.get(alias)
        except RegistryError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        return None if number is None else self.get(model, str(number))

    def move_alias(self, model: str, alias: str, version: str) -> str | None:
        """Point `alias` at `version`; returns the version it pointed to before, or None."""
        with self._translated():
            client = self._open()
            before = client.get_registered_model(model).aliases.get(alias)
            if str(before) != version:
                client.set_registered_model_alias(model, alias, version)
            return None if before is None else str(before)

    def remove_alias(self, model: str, alias: str) -> None:
        """Take `alias` away; nothing happens if it is not set."""
        with self._translated():
            self._open().delete_registered_model_alias(model, alias)

    def tag(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Set tags on a version."""
        with self._translated():
            client = self._open()
            for name, value in tags.items():
                client.set_model_version_tag(model, version, name, value)

    def changes_since(self, since_ms: int, *, overlap_ms: int = 60_000) -> Changes:
        """Versions created or updated at or after `since_ms - overlap_ms`, newest first, and all aliases now.

        Ask again with `cursor_ms`. The overlap catches a version whose transaction ended after a later one's; the
        caller's mirror must therefore take the same version twice. Aliases are whole each time: moving one leaves no
        trace on the versions. Setting a tag does not count as an update in MLflow.
        """
        earliest = since_ms - overlap_ms
        found: list[Version] = []
        with self._translated():
            client = self._open()
            aliases = {
                item.name: {alias: str(number) for alias, number in item.aliases.items()}
                for item in self._models(client)
            }
            token: str | None = None
            while True:
                page = client.search_model_versions(
                    max_results=PAGE_SIZE, order_by=["last_updated_timestamp DESC"], page_token=token
                )
                recent = [item for item in page if (item.last_updated_timestamp or 0) >= earliest]
                for item in recent:
                    held = aliases.get(item.name, {})
                    names = [name for name, number in held.items() if number == str(item.version)]
                    found.append(_version(item, aliases=names))
                token = page.token
                if not token or len(recent) < len(page):
                    break
        cursor = max((item.updated_ms for item in found), default=since_ms)
        return Changes(versions=tuple(found), aliases=aliases, cursor_ms=max(cursor, since_ms))

    def download(self, model: str, version: str, name: str = ARTEFACT_FILE) -> bytes:
        """A file of a version; the model file is checked against the SHA-256 noted when it was registered."""
        held = self.get(model, version)
        with self._translated(), TemporaryDirectory(prefix="download-") as folder:
            from mlflow.artifacts import download_artifacts

            path = download_artifacts(
                artifact_uri=f"{held.source}/{name}", dst_path=folder, tracking_uri=self.tracking_uri
            )
            content = Path(path).read_bytes()
        if name == ARTEFACT_FILE and held.sha256 and hashlib.sha256(content).hexdigest() != held.sha256:
            raise RegistryError("ARTEFACT_MISMATCH", f"{model} {version}: the file is not the one that was registered")
        return content

    def metrics(self, version: Version) -> dict[str, float]:
        """The metrics logged with a version."""
        with self._translated():
            return dict(self._open().get_run(version.run_id).data.metrics)

    def health(self) -> Health:
        """Ask for one registered model; never raises RegistryError."""
        started = time.perf_counter()
        try:
            with self._translated():
                self._open().search_registered_models(max_results=1)
        except RegistryError as error:
            return Health(ok=False, latency_ms=(time.perf_counter() - started) * 1000, message=error.message)
        return Health(ok=True, latency_ms=(time.perf_counter() - started) * 1000)

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _open(self) -> MlflowClient:
        if self._client is None:
            os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
            os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(self.timeouts.request_s)
            os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(self.timeouts.retries)
            os.environ["MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"] = str(self.timeouts.backoff_factor)
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
        return self._client

    def _ensure_experiment(self, client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        if self._experiment_id is None:
            found = client.get_experiment_by_name(self.experiment)
            if found is None:
                try:
                    self._experiment_id = client.create_experiment(self.experiment, self.artifact_root)
                except MlflowException as error:  # another worker was first
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    found = client.get_experiment_by_name(self.experiment)
            if found is not None:
                self._experiment_id = found.experiment_id
        return str(self._experiment_id)

    def _ensure_model(self, client: MlflowClient, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _by_key(self, client: MlflowClient, model: str, key: str) -> Version | None:
        page = client.search_model_versions(
            f"name = '{_quoted(model)}' and tags.`{KEY_TAG}` = '{_quoted(key)}'", max_results=1
        )
        return self.get(model, str(page[0].version)) if page else None

    def _models(self, client: MlflowClient) -> Iterator[Any]:
        token: str | None = None
        while True:
            page = client.search_registered_models(max_results=PAGE_SIZE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _log(self, client: MlflowClient, run_id: str, metrics: Mapping[str, float], params: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        client.log_batch(
            run_id,
            metrics=[Metric(name, float(value), now, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)[:PARAM_LIMIT]) for name, value in params.items()],
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """MLflow's and its database's errors as RegistryError."""
        self._open()
        from mlflow.exceptions import MlflowException
        from requests import RequestException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except MlflowException as error:
            code = str(error.error_code)
            raise RegistryError(code, error.message, temporary=code in TEMPORARY) from error
        except (RequestException, SQLAlchemyError) as error:
            raise RegistryError("UNREACHABLE", str(error), temporary=True) from error


def _quoted(value: str) -> str:
    if "'" in value or "\\" in value:
        raise ValueError("a model name or key must not hold a quote or a backslash")
    return value


def _version(item: ModelVersion, *, aliases: list[str] | None = None) -> Version:
    return Version(
        model=item.name,
        version=str(item.version),
        run_id=item.run_id or "",
        source=item.source or "",
        status=item.status,
        created_ms=item.creation_timestamp,
        updated_ms=item.last_updated_timestamp or item.creation_timestamp,
        tags=dict(item.tags),
        aliases=tuple(sorted(item.aliases if aliases is None else aliases)),
    )
