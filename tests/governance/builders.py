"""A small plant whose rows come through the real doors: inbox, processing, checks, drift, loop, retraining.

Only two things stand in for the outside: the model registry (a server elsewhere) and the release backend (the gateways).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from devices.models import PlantClock
from governance import backends, lake
from governance.choices import CheckKind, SloKind, StageKind, StreamKind
from governance.domain.retraining import RetrainingConfig
from governance.frame import forget_frames
from governance.models import Check, Dataset, Model, ModelVersion, Pipeline, Retraining, Slo, Stage
from governance.rows import RowBlock
from governance.services import commissioning, loop, versions
from governance.services.processing import process_pending
from governance.services.retraining import retraining_live, retraining_run
from portal.core import signing
from portal.core.clock import wall_now
from tests.factories import make_adoption, make_channel, make_device, make_model

START = datetime(2013, 9, 1, tzinfo=UTC)
HOUR_MS = 3_600_000
SMALL = RetrainingConfig(
    window=100, stride=50, train_rows=400, memory=300.0, min_gap=50, holdout=50, evidence=60, sigmas=3.0
)
CHUNK = 25


class Shelf:
    """Stands in for the model registry's server: takes every version, numbers them."""

    numbers = itertools.count(1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def register(self, **kwargs: Any) -> Any:
        number = next(self.numbers)
        return SimpleNamespace(version=str(number), run_id=f"{number:032x}")


class Hands:
    """Stands in for the gateways: a released version is live at once, from the newest row on."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def release(self, *, retraining: Any, version: Any, **_: Any) -> None:
        self.scene.live.append(version)
        retraining_live(retraining=retraining, from_ms=self.scene.at(self.scene.row))

    def live_version(self, **_: Any) -> Any:
        return self.scene.live[-1]

    def start_url(self, *, version: Any, adoption: Any) -> str:
        return f"/rollouts/new/?version={version.pk}&adoption={adoption.pk}"


@dataclass
class Scene:
    """One adoption with gateway, PLC, channels and pipeline; ``row`` is the next row the PLC will give."""

    site: Any
    adoption: Any
    gateway: Any
    plc: Any
    model: Model
    pipeline: Pipeline
    stages: dict[str, Stage]
    slos: dict[str, Slo]
    seed: int = 7
    row: int = 0
    sequence: int = 0
    live: list[ModelVersion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def at(self, row: int) -> int:
        return round(START.timestamp() * 1000) + row * HOUR_MS

    @staticmethod
    def truth(inputs: Any, *, decayed: bool) -> Any:
        at, ap = inputs[:, 0], inputs[:, 1]
        return 60 + 0.8 * at - 0.05 * (ap - 1013) + (12 + 0.5 * (at - 15) if decayed else 0)

    def ingest(
        self,
        rows: int,
        *,
        decayed: bool = False,
        knows: bool = False,
        predict: bool = True,
        broken: bool = False,
        noise: float = 0.6,
    ) -> None:
        """Take ``rows`` rows in and process them. ``decayed``: the plant has changed; ``knows``: so has the model; ``broken``: AT out of range;
        ``noise``: standard deviation of the model's error."""
        for first in range(0, rows, CHUNK):
            n = min(CHUNK, rows - first)
            numbers = np.arange(self.row, self.row + n)
            inputs = np.column_stack([self.random.normal(15, 5, n), self.random.normal(1013, 6, n)])
            if broken:
                inputs[:, 0] = 900.0
            label = self.truth(inputs, decayed=decayed) + self.random.normal(0, 1.0, n)
            times = np.array([self.at(int(i)) for i in numbers])
            common = {"source": self.pipeline.stream, "run": 1, "row": numbers, "plant_ms": times}
            self.sequence += 1
            blocks = [
                (
                    "telemetry",
                    StreamKind.TELEMETRY,
                    RowBlock.of(**common, columns={"AT": inputs[:, 0], "AP": inputs[:, 1]}),
                ),
            ]
            if predict and self.live:
                newest = self.live[-1]
                value = self.truth(inputs, decayed=knows) + self.random.normal(0, noise, n)
                block = RowBlock.of(
                    **common,
                    columns={"prediction": value},
                    model_version=str(newest.pk),
                    input_sequence=self.sequence,
                    latency_us=40.0,
                )
                blocks.append((f"inference/{newest.number}", StreamKind.INFERENCE, block))
            blocks.append(("labels", StreamKind.LABELS, RowBlock.of(**common, columns={"NOX": label})))
            lake.inbox_append(
                gateway=self.gateway,
                messages=[
                    lake.Incoming(
                        f"{self.pipeline.stream}/{name}", self.sequence, kind, lake.digest_of(block), block=block
                    )
                    for name, kind, block in blocks
                ],
            )
            self.row += n
            PlantClock.objects.filter(site=self.site).update(plant_now=lake.moment(self.at(self.row - 1)))
            self.process()

    def process(self) -> None:
        process_pending(fast_forwarded=False)
        for pk in Retraining.objects.filter(pipeline=self.pipeline, state="queued").values_list("pk", flat=True):
            retraining_run(retraining_id=pk)


def make_scene(site: Any, use_case: Any, *, stream: str = "plc-1", owners: tuple[Any, Any] = (None, None)) -> Scene:
    """The records of a plant before its first row."""
    forget_frames()
    site.kind = "replay"
    site.save(update_fields=["kind"])
    PlantClock.objects.create(
        site=site, state="running", plant_now=START, wall_at=wall_now(), rows_total=2000, nominal=True
    )
    gateway = make_device(site, "gateway", code="gw-1", name="Gateway 1")
    plc = make_device(site, "plc", code="plc-1", name="Turbine PLC", gateway=gateway)
    channels = [
        make_channel(plc, "AT", unit="Cel", range_low=-20, range_high=50, period_s=3600),
        make_channel(plc, "AP", unit="mbar", range_low=950, range_high=1070, period_s=3600),
    ]
    label = make_channel(plc, "NOX", unit="mg/m3", role="label", range_low=0, range_high=200, period_s=3600)
    adoption = make_adoption(use_case, site, phase=3)
    adoption.devices.set([gateway, plc])
    model = make_model(use_case, name="NOx soft sensor", error_limit=6.0, registry_name="nox")
    pipeline = Pipeline.objects.create(
        adoption=adoption,
        model=model,
        name="NOx at the stack",
        stream=stream,
        reference={"drift": {"mode": "fixed", "window": 150, "step": 100, "first": 300}},
    )
    stages = {}
    for position, kind in enumerate(StageKind.values):
        stages[kind] = Stage.objects.create(
            pipeline=pipeline, position=position, kind=kind, name=str(StageKind(kind).label)
        )
        Dataset.objects.create(stage=stages[kind], name=f"{pipeline.pk}/{kind}", columns=[], uri=f"lake/{kind}")
    stages["source"].channels.set(channels)
    stages["label"].channels.set([label])
    for kind in ("source", "window"):
        for check in (CheckKind.SCHEMA, CheckKind.RANGE):
            Check.objects.create(stage=stages[kind], kind=check, name=f"{stages[kind].name}: {check}")
    Check.objects.create(stage=stages["source"], kind=CheckKind.STALENESS, name="Source: staleness")
    Check.objects.create(stage=stages["prediction"], kind=CheckKind.SCHEMA, name="Prediction: schema")
    Check.objects.create(stage=stages["label"], kind=CheckKind.SCHEMA, name="Label: schema")
    slos = {
        "uptime": Slo.objects.create(
            adoption=adoption,
            kind=SloKind.UPTIME,
            name="Edge inference uptime",
            target=0.995,
            ot_owner=owners[0],
            ds_owner=owners[1],
        ),
        "alert_to_retrain": Slo.objects.create(
            adoption=adoption,
            kind=SloKind.ALERT_TO_RETRAIN,
            name="Alert to retrain",
            target=0.95,
            limit_seconds=7200,
            window_days=90,
        ),
    }
    return Scene(site, adoption, gateway, plc, model, pipeline, stages, slos)


def everybody_signs(user: Any, kind: str, site: Any = None, now: Any = None) -> signing.SigningVerdict:
    """The signing rule of a CoE in which the AI Safety Officer has a valid certificate, and nobody else."""
    if "safety_officer" in user.role_keys:
        return signing.SigningVerdict(True, "", "AI Safety Officer", {"certificate": "test"})
    return signing.SigningVerdict(False, "Only an AI Safety Officer with a valid certificate signs models.")


def stand_ins(scene: Scene | None = None) -> Any:
    """Context managers that put the stand-ins in place."""
    from contextlib import ExitStack

    stack = ExitStack()
    stack.enter_context(mock.patch("governance.registry_client.Registry", Shelf))
    stack.enter_context(mock.patch.object(signing, "_rule", everybody_signs))
    if scene is not None:
        stack.enter_context(mock.patch.object(backends, "_release", Hands(scene)))
    return stack


def commission(scene: Scene, signer: Any) -> ModelVersion:
    """Rows on record, the first version trained, signed, live; further challengers go out under a standing approval."""
    from datetime import timedelta

    scene.ingest(400, predict=False)
    version = commissioning.pipeline_commission(actor=None, pipeline=scene.pipeline, config=SMALL)
    versions.version_sign(actor=signer, version=version)
    versions.version_live(version=version)
    loop.champion_deployed(pipeline=scene.pipeline, version_id=version.pk, from_ms=scene.at(scene.row))
    versions.standing_approval_grant(actor=signer, model=scene.model, until=wall_now() + timedelta(days=30))
    scene.model.refresh_from_db()
    scene.live.append(version)
    return version


def decay_and_repair(scene: Scene) -> None:
    """Healthy rows, then the plant changes, the loop repairs it, and the error is back."""
    scene.ingest(150)
    for _ in range(40):
        scene.ingest(CHUNK, decayed=True, knows=len(scene.live) > 1)
