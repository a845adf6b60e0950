"""Window features inside the graph equal their NumPy definition; metadata survives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from governance.modelling.detector import threshold_of
from governance.modelling.graph import GraphBuilder, WindowSpec, read_metadata, window_statistics, write_metadata
from governance.modelling.runtime import run


def features_only(spec: WindowSpec, channels: int) -> bytes:
    graph = GraphBuilder()
    graph.node("Identity", [graph.window_features(spec, channels)], "out")
    width = spec.feature_count(channels)
    return graph.build("features", columns=channels * spec.window, outputs={"out": width}, metadata={"kind": "test"})


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda channels: st.tuples(
            st.just(channels),
            arrays(
                np.float32, st.tuples(st.integers(1, 5), st.just(6 * channels)), elements=st.floats(-100, 100, width=32)
            ),
        )
    )
)
def test_the_graph_computes_the_documented_features(case: tuple[int, np.ndarray]) -> None:
    channels, rows = case
    spec = WindowSpec(6, (2, 4, 6))
    expected = window_statistics(rows, spec)
    assert expected.shape == (len(rows), spec.feature_count(channels))
    np.testing.assert_allclose(run(features_only(spec, channels), rows)["out"], expected, rtol=1e-4, atol=1e-3)


def test_features_of_one_window_by_hand() -> None:
    spec = WindowSpec(4, (2, 4))
    found = window_statistics([[1.0, 2.0, 6.0, 4.0]], spec)[0]
    names = spec.feature_names(["t"])
    assert dict(zip(names, found.tolist(), strict=True)) == pytest.approx(
        {
            "t.last": 4, "t.mean_2": 5, "t.std_2": 1, "t.change_2": -2, "t.min_2": 4,
            "t.mean_4": 3.25, "t.std_4": np.std([1, 2, 6, 4]), "t.change_4": 3, "t.min_4": 1,
        }
    )  # fmt: skip


def test_names_follow_the_features() -> None:
    assert WindowSpec().feature_names(["a", "b"]) == ("a", "b")
    assert WindowSpec(2).feature_names(["a", "b"]) == ("a.lag_1", "b.lag_1", "a.lag_0", "b.lag_0")
    for spec in (WindowSpec(), WindowSpec(3), WindowSpec(3, (2, 3))):
        assert len(spec.feature_names(["a", "b"])) == spec.feature_count(2)


@pytest.mark.parametrize(("window", "spans"), [(0, ()), (3, (4,)), (3, (1,))])
def test_impossible_windows_are_refused(window: int, spans: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"window|spans"):
        WindowSpec(window, spans)


def test_a_window_must_divide_the_columns() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        window_statistics(np.zeros((1, 5)), WindowSpec(2, (2,)))


def test_metadata_is_read_back_and_merged() -> None:
    model = features_only(WindowSpec(2, (2,)), 1)
    changed = write_metadata(model, {"threshold": "0.5"})
    assert read_metadata(changed) == {"kind": "test", "threshold": "0.5"}
    assert write_metadata(changed, {}) == changed


@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 1e3)), st.floats(0.5, 1))
def test_a_threshold_keeps_its_promise_on_its_own_rows(scores: np.ndarray, quantile: float) -> None:
    limit = threshold_of(scores, quantile)
    assert (scores > limit).sum() <= (1 - quantile) * len(scores) + 1e-9


@pytest.mark.parametrize(("scores", "quantile"), [([], 0.9), ([1.0], 0.0), ([1.0], 1.1)])
def test_a_threshold_needs_scores_and_a_quantile(scores: list[float], quantile: float) -> None:
    with pytest.raises(ValueError, match=r"threshold|quantile"):
        threshold_of(scores, quantile)
