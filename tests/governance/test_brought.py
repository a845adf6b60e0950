"""A first version that was trained elsewhere: a file, or a version of the registry."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from onnx import TensorProto, helper

from governance import artefacts
from governance.modelling import imported
from governance.models import ModelVersion, Pipeline
from governance.registry_client import RegistryError
from governance.services import commissioning, setup
from portal.core.errors import DomainError
from portal.core.models import Job
from tests.governance import builders

pytestmark = pytest.mark.django_db
UNTIL = "2013-09-05T00:00:00Z"
SMALL = {"window": 100, "stride": 50, "train_rows": 400, "memory": 300.0, "min_gap": 50, "holdout": 50, "evidence": 60}


@cache
def linear(weights: tuple[float, ...] = (0.8, -0.05), bias: float = 60 + 0.05 * 1013, outputs: int = 1) -> bytes:
    """inputs x weights + bias as an ONNX file: the plant's own law, unless told otherwise."""
    w = np.tile(np.array(weights, dtype=np.float32)[:, None], (1, outputs))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, outputs])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.ravel().tolist()),
            helper.make_tensor("b", TensorProto.FLOAT, [1], [bias]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.fixture
def fed(hall: Any) -> Any:
    setup.pipeline_update(actor=None, pipeline=hall.scene.pipeline, data={}, retraining=SMALL)
    hall.scene.pipeline.refresh_from_db()
    hall.scene.ingest(400, predict=False)
    return hall


def commission(client: Any, pipeline: Pipeline, **body: Any) -> Any:
    return client.post(f"/api/v1/pipelines/{pipeline.pk}/commission", body, format="json")


def test_a_file_is_judged_on_rows_that_it_has_not_seen(
    fed: Any, api: Any, django_capture_on_commit_callbacks: Any
) -> None:
    data = linear()
    with django_capture_on_commit_callbacks(execute=True):
        answer = commission(
            api(fed.data_scientist),
            fed.scene.pipeline,
            method="file",
            onnx=base64.b64encode(data).decode(),
            trained_until=UNTIL,
        )
    assert answer.status_code == 202, answer.content
    job = Job.objects.get(pk=answer.json()["job"])
    assert job.state == "succeeded", job.error
    version = ModelVersion.objects.get()
    assert artefacts.load(version.sha256) == data
    assert (version.state, version.quantisation, version.training_rows) == ("candidate", "fp32", 0)
    assert "kept as it is" in version.quantisation_report["reason"]
    assert version.metrics["rows"] == 303
    assert 0.6 < version.metrics["mae"] < 1.0
    assert version.trained_to == datetime(2013, 9, 5, tzinfo=UTC)
    assert version.latency_us > 0
    pipeline = Pipeline.objects.get(pk=fed.scene.pipeline.pk)
    assert pipeline.reference["out_of_fold_rows"] == 303
    assert pipeline.policy_state["policy"]["loop"]["next_row"] == 400


def test_a_version_of_the_registry_is_fetched_by_its_number(
    fed: Any, api: Any, monkeypatch: Any, django_capture_on_commit_callbacks: Any
) -> None:
    asked = []

    def download(self: Any, model: str, version: str) -> bytes:
        asked.append((model, version))
        if version != "7":
            raise RegistryError("RESOURCE_DOES_NOT_EXIST", "no such version")
        return linear()

    monkeypatch.setattr(builders.Shelf, "download", download, raising=False)
    client = api(fed.data_scientist)
    body = {"method": "registry", "trained_until": UNTIL}
    with django_capture_on_commit_callbacks(execute=True):
        missing = commission(client, fed.scene.pipeline, registry_version="6", **body)
    job = Job.objects.get(pk=missing.json()["job"])
    assert (job.state, job.error["code"]) == ("failed", "registry")
    with django_capture_on_commit_callbacks(execute=True):
        commission(client, fed.scene.pipeline, registry_version="7", **body)
    assert asked == [("nox", "6"), ("nox", "7")]
    assert ModelVersion.objects.get().number == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"method": "file", "trained_until": UNTIL}, "onnx"),
        ({"method": "file", "onnx": "not base64!", "trained_until": UNTIL}, "onnx"),
        ({"method": "file", "onnx": "AAAA"}, "trained_until"),
        ({"method": "registry", "trained_until": UNTIL}, "registry_version"),
        ({"method": "registry", "registry_version": "x'", "trained_until": UNTIL}, "registry_version"),
        ({"method": "magic"}, "method"),
        ({"split_at": UNTIL, "until": UNTIL}, "split_at"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_is_missing_is_said_beside_its_field(fed: Any, api: Any, body: Any, field: str) -> None:
    answer = commission(api(fed.data_scientist), fed.scene.pipeline, **body)
    assert answer.status_code == 400, answer.content
    assert field in {row["field"] for row in answer.json()["errors"]}
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not a model", "no ONNX model"),
        (linear((1.0, 2.0, 3.0)), "has 3 columns; 2 inputs need 2"),
        (linear((1.0,) * 4), "one row at a time"),
        (linear(outputs=2), "2 numbers a row"),
        (linear(bias=float("inf")), "no numbers"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(fed: Any, data: bytes, words: str) -> None:
    brought = commissioning.Brought(data, datetime(2013, 9, 5, tzinfo=UTC), "test")
    with pytest.raises(DomainError, match=words) as refusal:
        commissioning.pipeline_commission(actor=None, pipeline=fed.scene.pipeline, brought=brought)
    assert refusal.value.code == "not_commissioned"
    assert not ModelVersion.objects.exists()


def test_a_file_that_has_seen_nearly_everything_cannot_be_judged(fed: Any) -> None:
    brought = commissioning.Brought(linear(), datetime(2013, 9, 16, tzinfo=UTC), "test")
    with pytest.raises(DomainError, match="are newer than what the model has seen"):
        commissioning.pipeline_commission(actor=None, pipeline=fed.scene.pipeline, brought=brought)


def test_the_page_takes_a_file(fed: Any, as_user: Any, django_capture_on_commit_callbacks: Any) -> None:
    client = as_user(fed.data_scientist)
    url = reverse("governance:pipeline-commission", args=[fed.scene.pipeline.pk])
    assert 'enctype="multipart/form-data"' in client.get(url).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(
            url,
            {"method": "file", "onnx": SimpleUploadedFile("nox.onnx", linear()), "trained_until": "2013-09-05T00:00"},
        )
    assert answer.status_code == 302
    assert ModelVersion.objects.get().trained_to == datetime(2013, 9, 5, tzinfo=UTC)


def test_a_detector_gets_its_threshold_from_healthy_rows() -> None:
    from governance.modelling.package import Feature, PlantTime

    rows = np.random.default_rng(1).normal(0, 1, (500, 2)).astype(np.float32)
    package = imported.detector(
        linear((1.0, 0.0) * 3, 0.0),
        features=[Feature("A"), Feature("B")],
        plant_time=PlantTime(0, 1),
        healthy_rows=rows,
    )
    assert (package.window, package.task) == (3, "score")
    expected = rows[:-2, 0] + rows[1:-1, 0] + rows[2:, 0]
    assert package.threshold == pytest.approx(float(np.quantile(expected, 0.995)), rel=1e-5)


def test_a_quantised_file_is_known_by_its_operators() -> None:
    model = onnx.load_model_from_string(linear())
    model.graph.node[0].op_type = "MatMulInteger"
    assert imported.quantisation_of(model.SerializeToString())[0] == "int8"
    assert imported.quantisation_of(linear())[1].status == "refused"
    model.graph.node[0].op_type = "Sub"
    assert imported.quantisation_of(model.SerializeToString())[1].status == "not_applicable"
