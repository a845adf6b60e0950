"""The registry on a local database, as the demo runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from governance.registry_client import CHALLENGER, CHAMPION, Registry, RegistryError, Timeouts


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("mlflow")
    return Registry(f"sqlite:///{folder}/mlflow.db", artifact_root=(folder / "artefacts").as_uri())


def test_importing_the_connector_does_not_import_mlflow_or_django() -> None:
    code = "import sys, governance.registry_client; print([m for m in ('mlflow', 'django') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_version_is_registered_with_everything_and_read_back(registry: Registry) -> None:
    made = registry.register(
        model="NOx",
        onnx=b"model-1",
        key="job-1",
        documents={"manifest.json": b"{}"},
        metrics={"r2": 0.59, "mae": 5.7},
        params={"max_iter": 100, "long": "x" * 900},
        tags={"kind": "soft_sensor"},
        description="trained on 2011-12",
    )
    assert (made.model, made.version, made.status) == ("NOx", "1", "READY")
    assert made.tags["kind"] == "soft_sensor"
    assert registry.metrics(made) == {"r2": 0.59, "mae": 5.7}
    assert registry.download("NOx", "1") == b"model-1"
    assert registry.download("NOx", "1", "manifest.json") == b"{}"


def test_the_same_job_registers_once(registry: Registry) -> None:
    first = registry.register(model="twice", onnx=b"a", key="job-9")
    again = registry.register(model="twice", onnx=b"a", key="job-9")
    assert first == again
    assert registry.register(model="twice", onnx=b"b", key="job-10").version == "2"


def test_aliases_move_and_say_where_they_were(registry: Registry) -> None:
    for number in range(2):
        registry.register(model="moving", onnx=str(number).encode(), key=f"m{number}")
    assert registry.by_alias("moving", CHAMPION) is None
    assert registry.by_alias("unknown", CHAMPION) is None
    assert registry.move_alias("moving", CHAMPION, "1") is None
    assert registry.move_alias("moving", CHALLENGER, "2") is None
    assert registry.move_alias("moving", CHAMPION, "2") == "1"
    assert registry.move_alias("moving", CHAMPION, "2") == "2"
    found = registry.by_alias("moving", CHAMPION)
    assert found is not None
    assert (found.version, found.aliases) == ("2", (CHALLENGER, CHAMPION))
    registry.remove_alias("moving", CHALLENGER)
    registry.remove_alias("moving", CHALLENGER)
    assert registry.get("moving", "2").aliases == (CHAMPION,)


def test_changes_since_a_moment_are_found_once_the_overlap_is_taken_off(registry: Registry) -> None:
    old = registry.register(model="polled", onnx=b"old", key="p1")
    before = registry.changes_since(0)
    assert ("polled", "1") in {(item.model, item.version) for item in before.versions}
    assert before.cursor_ms >= old.updated_ms
    new = registry.register(model="polled", onnx=b"new", key="p2")
    registry.move_alias("polled", CHAMPION, "2")
    after = registry.changes_since(new.updated_ms, overlap_ms=0)
    assert [(item.model, item.version, item.aliases) for item in after.versions] == [("polled", "2", (CHAMPION,))]
    assert after.aliases["polled"] == {CHAMPION: "2"}
    none = registry.changes_since(after.cursor_ms + 1, overlap_ms=0)
    assert (none.versions, none.cursor_ms) == ((), after.cursor_ms + 1)


def test_paging_reads_more_than_one_page(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        registry.register(model="paged", onnx=b"x", key=f"page-{number}")
    monkeypatch.setattr("governance.registry_client.PAGE_SIZE", 2)
    found = [item.version for item in registry.changes_since(0).versions if item.model == "paged"]
    assert sorted(found) == ["1", "2", "3"]


def test_tags_are_set(registry: Registry) -> None:
    registry.register(model="tagged", onnx=b"x", key="t")
    registry.tag("tagged", "1", {"gate": "refused"})
    assert registry.get("tagged", "1").tags["gate"] == "refused"


def test_what_is_not_there_is_said(registry: Registry) -> None:
    with pytest.raises(RegistryError) as caught:
        registry.get("nobody", "1")
    assert caught.value.code == "RESOURCE_DOES_NOT_EXIST"
    assert not caught.value.temporary
    with pytest.raises(ValueError, match="quote"):
        registry.register(model="O'Neill", onnx=b"x", key="k")


def test_a_changed_file_is_noticed(registry: Registry) -> None:
    made = registry.register(model="tampered", onnx=b"right", key="x")
    Path(made.source.removeprefix("file://"), "model.onnx").write_bytes(b"wrong")
    with pytest.raises(RegistryError, match="ARTEFACT_MISMATCH"):
        registry.download("tampered", "1")


def test_health_says_whether_it_answers(registry: Registry, tmp_path: Path) -> None:
    assert registry.health().ok
    away = Registry("http://127.0.0.1:9", timeouts=Timeouts(request_s=1, retries=0))
    found = away.health()
    assert not found.ok
    assert found.message
    with pytest.raises(RegistryError) as caught:
        away.get("NOx", "1")
    assert caught.value.temporary
