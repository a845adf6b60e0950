"""The retraining loop: its worked table, its guarantees, and the gas-turbine result it is built for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.domain.closed_loop import replay
from governance.domain.concept import ConceptLimit, Measure
from governance.domain.retraining import (
    AlertClosed,
    AlertOpened,
    AlertRenewed,
    ChallengerAccepted,
    ChallengerRefused,
    Decision,
    Detector,
    Limits,
    RetrainDue,
    RetrainingConfig,
    RetrainingPolicy,
    Step,
    accumulated_excess,
    calibrate,
    capped_loss,
    recency_weights,
    record,
)

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs/algorithms/retraining.md"
SMALL = RetrainingConfig(
    proportional=False, window=100, stride=50, evidence=3, min_gap=2, holdout=2, train_rows=6, min_gain=0.1
)
LIMITS = Limits(1.0, 0.0, ConceptLimit(Measure.RMSE, 4.0, 4.0, 1.0, 1.0, 9), 12.0)


def fed(policy: RetrainingPolicy, errors: list[float]) -> list[Decision]:
    return policy.observe(policy.next_row, errors, np.zeros(len(errors)))


def alerted(config: RetrainingConfig = SMALL) -> RetrainingPolicy:
    """A policy with its first retraining due at row 7."""
    policy = RetrainingPolicy(config, LIMITS)
    decisions = fed(policy, [0.0] * 6 + [3.0, 3.0])
    assert [type(each) for each in decisions] == [AlertOpened, RetrainDue]
    return policy


def worked_rows() -> list[list[str]]:
    table = re.search(r"<!-- worked -->\n(.*?)<!-- end of worked -->", DOCUMENT.read_text(), re.DOTALL).group(1)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]


def test_worked_table_of_the_document():
    policy = RetrainingPolicy(SMALL, LIMITS)
    outcomes = iter([([4.0, 4.0], [5.0, -3.0]), ([1.0, 1.0], [3.0, 3.0])])
    for row, error, excess, told in worked_rows():
        said = []
        for each in policy.observe(int(row), [float(error)], [0.0]):
            if isinstance(each, RetrainDue):
                said.append(f"RetrainDue {each.first}-{each.last} held out {each.held_out}")
                verdict = policy.check(*next(outcomes))
                if isinstance(verdict, ChallengerAccepted):
                    said.append("ChallengerAccepted in force from 12")
                else:
                    said.append(f"ChallengerRefused next {verdict.next_row}")
            else:
                said.append(type(each).__name__)
        assert ", ".join(said) == told
        assert policy.excess == pytest.approx(float(excess)), row
        if "Accepted" in told:
            policy.deployed(12)
    assert next(outcomes, None) is None
    assert policy.step is Step.WATCHING and policy.retrainings == 2


def test_state_is_json_and_continues_with_the_same_decisions():
    rng = np.random.default_rng(5)
    errors = np.concatenate([rng.normal(size=40), rng.normal(2.5, 1, size=60), rng.normal(size=60)])

    def run(resume: bool) -> list[Decision]:
        policy = RetrainingPolicy(replace(SMALL, window=20, stride=10), LIMITS)
        told: list[Decision] = []
        for row, error in enumerate(errors):
            if resume:
                policy = RetrainingPolicy.from_state(json.loads(json.dumps(policy.state())))
            told += policy.observe(row, [error], [0.0])
            if policy.step is Step.TRAINING:
                told.append(policy.check([1.0, 1.0], [0.5 + row % 2, 1.0]))
            if policy.step is Step.ROLLOUT and row % 5 == 0:
                policy.deployed(row + 3)
        return told

    straight = run(resume=False)
    assert straight == run(resume=True)
    kinds = {type(each) for each in straight}
    assert {AlertOpened, AlertClosed, RetrainDue, ChallengerAccepted, ChallengerRefused} <= kinds


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=80), st.lists(st.integers(1, 12), min_size=1, max_size=20))
def test_batches_decide_as_single_rows(errors, sizes):
    def run(batches):
        policy, told, start = RetrainingPolicy(replace(SMALL, window=10, stride=5), LIMITS), [], 0
        for size in batches:
            told += policy.observe(start, errors[start : start + size], np.zeros(len(errors[start : start + size])))
            start += size
            if start >= len(errors):
                break
        return told, policy.state()

    whole = [*sizes, len(errors)]
    assert run(whole) == run([1] * len(errors))


@given(st.integers(0, 2**32 - 1))
def test_the_year_that_set_the_limits_has_no_alarm(seed):
    rng = np.random.default_rng(seed)
    config = RetrainingConfig(window=60, stride=30, headroom=1.0)
    guess = rng.uniform(40, 90, size=500)
    truth = guess + rng.standard_t(3, size=500) * guess * 0.1 + np.repeat(rng.normal(0, 5, size=5), 100)
    limits = calibrate(truth, guess, config)
    assert RetrainingPolicy(config, limits).observe(0, truth, guess) == []
    assert np.mean(np.square(limits.scaled(truth, guess))) == pytest.approx(1.0)


@given(st.lists(st.floats(0, 9), max_size=60), st.floats(0, 2))
def test_accumulated_excess_is_the_recursion(losses, allowance):
    level, expected = 0.0, []
    for loss in losses:
        level = max(0.0, level + loss - (1.0 + allowance))
        expected.append(level)
    np.testing.assert_allclose(accumulated_excess(losses, allowance), expected, atol=1e-9)


def test_loss_is_capped_and_weights_fade():
    np.testing.assert_array_equal(capped_loss([-2.0, 0.5, 100.0], 3.0), [4.0, 0.25, 9.0])
    weights = recency_weights(3, 2.0)
    np.testing.assert_allclose(weights, np.exp([-1.0, -0.5, 0.0]))


def test_proportional_scale_has_a_floor():
    limits = Limits(0.1, 40.0, LIMITS.window, 12.0)
    np.testing.assert_allclose(limits.scaled([88.0, 14.0], [80.0, 10.0]), [1.0, 1.0])


def test_windows_alone_can_open_an_alert():
    config = replace(SMALL, window=10, stride=5)
    limits = replace(LIMITS, stream=1e9, window=replace(LIMITS.window, open_above=1.5, close_below=1.2))
    policy = RetrainingPolicy(config, limits)
    (opened, due) = policy.observe(0, [2.0] * 10, [0.0] * 10)
    assert opened == AlertOpened(9, Detector.WINDOW, 2.0, 1.5)
    assert (due.first, due.held_out, due.last) == (4, 8, 9)


def test_an_equal_challenger_is_refused():
    verdict = alerted().check([1.0, -1.0], [1.0, 1.0])
    assert verdict == ChallengerRefused(7, 1, challenger=1.0, incumbent=1.0, rows=2, next_row=10)


def test_wait_after_refusals_doubles_up_to_its_limit():
    policy = alerted(replace(SMALL, backoff_limit=2))
    rows = [policy.next_row - 1]
    while len(rows) < 6:
        policy.check([9.0, 9.0], [1.0, 1.0])
        while policy.step is not Step.TRAINING:
            fed(policy, [3.0])
        rows.append(policy.next_row - 1)
    assert [b - a for a, b in pairwise(rows)] == [3, 6, 12, 12, 12]


def test_an_alert_can_close_without_a_new_model():
    policy = alerted()
    policy.check([9.0, 9.0], [1.0, 1.0])
    assert fed(policy, [0.0, 0.0]) == []
    assert fed(policy, [0.0]) == [AlertClosed(10, 0.0, 2.0)]
    assert policy.step is Step.WATCHING and not policy.alert_open


def test_a_champion_that_fails_its_trial_is_retrained_and_renews_the_alert():
    policy = alerted()
    assert isinstance(policy.check([1.0, 1.0], [3.0, 3.0]), ChallengerAccepted)
    policy.deployed(8)
    renewed, due = fed(policy, [3.0, 3.0])
    assert renewed == AlertRenewed(9, Detector.STREAM, 15.0, 12.0)
    assert isinstance(due, RetrainDue) and due.number == 2


def test_no_new_retraining_while_one_is_under_way_or_rolled_out():
    policy = alerted()
    assert fed(policy, [3.0] * 20) == []
    policy.check([1.0, 1.0], [3.0, 3.0])
    assert fed(policy, [3.0] * 20) == []
    policy.deployed(10)
    assert policy.state()["loop"]["champion_from"] == policy.next_row == 48


@pytest.mark.parametrize("accepted", [False, True])
def test_an_abandoned_retraining_is_tried_again(accepted):
    policy = alerted()
    if accepted:
        policy.check([1.0, 1.0], [3.0, 3.0])
    assert policy.abandon() == 10
    decisions = fed(policy, [3.0] * 3)
    assert [(type(each), each.row) for each in decisions] == [(RetrainDue, 10)]


def test_a_challenger_whose_predictions_are_not_finite_is_refused():
    verdict = alerted().check([np.nan, 1.0], [3.0, 3.0])
    assert isinstance(verdict, ChallengerRefused)


@pytest.mark.parametrize(
    ("first", "labels", "predictions"),
    [(1, [1.0], [1.0]), (0, [np.nan], [1.0]), (0, [1.0], [np.inf]), (0, [1.0, 2.0], [1.0]), (0, [[1.0]], [[1.0]])],
)
def test_bad_rows_change_nothing(first, labels, predictions):
    policy = RetrainingPolicy(SMALL, LIMITS)
    before = policy.state()
    with pytest.raises(ValueError):
        policy.observe(first, labels, predictions)
    assert policy.state() == before


def test_steps_out_of_turn_are_refused():
    policy = RetrainingPolicy(SMALL, LIMITS)
    for act in (lambda: policy.check([1.0, 1.0], [1.0, 1.0]), lambda: policy.deployed(1), policy.abandon):
        with pytest.raises(ValueError, match="the loop is at watching"):
            act()
    policy = alerted()
    for wrong in ([1.0], [1.0, 1.0, 1.0]):
        with pytest.raises(ValueError, match="2 held-out rows"):
            policy.check(wrong, wrong)
    with pytest.raises(ValueError, match="incumbent"):
        policy.check([1.0, 1.0], [np.nan, 1.0])
    assert policy.step is Step.TRAINING


@pytest.mark.parametrize(
    "wrong",
    [{"holdout": 151}, {"holdout": 0}, {"train_rows": 150}, {"memory": 0.0}, {"headroom": 0.9}, {"min_gain": 1.0}],
)
def test_settings_that_break_a_guarantee_are_refused(wrong):
    with pytest.raises(ValueError):
        RetrainingConfig(**wrong)


def test_calibration_needs_windows_errors_and_a_level():
    config = RetrainingConfig(window=10, stride=5)
    with pytest.raises(ValueError, match="windows"):
        calibrate(np.ones(10), np.full(10, 2.0), config)
    with pytest.raises(ValueError, match="no scale"):
        calibrate(np.ones(30), np.ones(30), config)
    with pytest.raises(ValueError, match="other than 0"):
        calibrate(np.ones(30), np.zeros(30), config)


def test_records_are_json():
    policy = alerted()
    told = record(policy.check([4.0, 4.0], [1.0, 1.0]))
    assert json.loads(json.dumps(told))["kind"] == "ChallengerRefused"
    assert record(AlertOpened(1, Detector.STREAM, 2.0, 1.0))["detector"] == "stream"


def line_fit(inputs, labels, weights):
    """Weighted least squares on one channel and a constant."""
    design = np.column_stack([inputs[:, 0], np.ones(len(inputs))]) * np.sqrt(weights)[:, None]
    slope, constant = np.linalg.lstsq(design, labels * np.sqrt(weights), rcond=None)[0]
    return lambda rows: rows[:, 0] * slope + constant


def shifted(rows: int = 3000, at: int = 1500):
    rng = np.random.default_rng(11)
    inputs = rng.uniform(0, 10, size=(rows, 1))
    labels = 50 + 2 * inputs[:, 0] + rng.normal(size=rows) + 8.0 * (np.arange(rows) >= at)
    return inputs, labels


def looped(inputs, labels):
    config = RetrainingConfig(
        window=100,
        stride=50,
        sigmas=5,
        train_rows=600,
        memory=100,
        evidence=50,
        min_gap=40,
        holdout=20,
        proportional=False,
    )
    champion = line_fit(inputs[:500], labels[:500], np.ones(500))
    limits = calibrate(labels[500:1000], champion(inputs[500:1000]), config)
    return replay(RetrainingPolicy(config, limits, start=1000), inputs, labels, line_fit, champion)


def test_replay_finds_repairs_and_closes():
    inputs, labels = shifted()
    run = looped(inputs, labels)
    kinds = [type(each) for each in run.decisions]
    assert kinds[0] is AlertOpened and kinds[-1] is AlertClosed
    assert 1500 <= run.decisions[0].row < 1520
    errors = labels - run.predictions
    assert np.abs(errors[1500:1520].mean()) > 7
    assert np.abs(errors[run.decisions[-1].row :].mean()) < 1


def test_replay_sees_no_row_before_its_time():
    inputs, labels = shifted()
    changed = labels.copy()
    changed[1700:] += 30 * np.sin(np.arange(1300))
    one, other = looped(inputs, labels), looped(inputs, changed)
    early = [each for each in one.decisions if each.row < 1700]
    assert early and early == [each for each in other.decisions if each.row < 1700]
    np.testing.assert_array_equal(one.predictions[:1724], other.predictions[:1724])


def test_held_out_rows_are_in_no_training_of_either_model():
    inputs, labels = shifted()
    trained: list[tuple[float, float]] = []

    def watched(rows, truth, weights):
        trained.append((rows[0, 0], rows[-1, 0]))
        return line_fit(rows, truth, weights)

    config = RetrainingConfig(
        window=100,
        stride=50,
        sigmas=5,
        train_rows=600,
        memory=100,
        evidence=50,
        min_gap=40,
        holdout=20,
        proportional=False,
    )
    champion = line_fit(inputs[:500], labels[:500], np.ones(500))
    limits = calibrate(labels[500:1000], champion(inputs[500:1000]), config)
    run = replay(RetrainingPolicy(config, limits, start=1000), inputs, labels, watched, champion)
    dues = [each for each in run.decisions if isinstance(each, RetrainDue)]
    assert trained[0] == (inputs[dues[0].first, 0], inputs[dues[0].held_out - 1, 0])
    assert all(later.held_out > earlier.last for earlier, later in pairwise(dues))
    assert run.fits == len(trained)


def test_gas_turbine_meets_its_requirements():
    from threadpoolctl import threadpool_limits

    from benchmarks.retraining_table import closed_loop, load

    with threadpool_limits(limits=1):
        data = load()
        champion = data.trained_on((2011, 2012))
        frozen = data.scores(champion(data.inputs))
        assert frozen == (pytest.approx(0.59, abs=0.01), pytest.approx(-0.27, abs=0.01))
        fold = data.out_of_fold(2011, 2012)
        config = RetrainingConfig()
        assert RetrainingPolicy(config, calibrate(*fold, config)).observe(0, *fold) == []
        result = closed_loop(data, config, champion=champion, fold=fold)
        assert result.found is not None and result.found <= 600
        assert result.r2_2014 >= 0.45
        assert result.accepted + result.refused <= 16 and result.refused >= 1


def watching(rows: int = 9) -> RetrainingPolicy:
    policy = RetrainingPolicy(SMALL, LIMITS)
    assert fed(policy, [0.1] * rows) == []
    return policy


def test_a_rehearsal_is_checked_like_any_retraining_and_a_refused_one_leaves_no_trace():
    policy = watching()
    due = policy.rehearse()
    assert (due.row, due.number, due.first, due.held_out, due.last) == (8, 1, 3, 7, 8)
    assert policy.step is Step.TRAINING and not policy.alert_open
    with pytest.raises(ValueError, match="training"):
        policy.rehearse()
    assert isinstance(policy.check([0.2, 0.2], [0.1, 0.1]), ChallengerRefused)
    assert policy.step is Step.WATCHING
    assert fed(policy, [0.1] * 50) == []
    assert policy.rehearse().number == 2
    policy.abandon()
    assert policy.step is Step.WATCHING


def test_the_winner_of_a_rehearsal_is_watched_from_its_first_row():
    policy = watching()
    policy.rehearse()
    assert isinstance(policy.check([0.0, 0.0], [0.1, 0.1]), ChallengerAccepted)
    with pytest.raises(ValueError, match="rollout"):
        policy.rehearse()
    policy.deployed(policy.next_row + 2)
    assert policy.step is Step.WATCHING
    with pytest.raises(ValueError, match="has predicted 0"):
        policy.rehearse()
    assert isinstance(fed(policy, [3.0] * 9)[0], AlertOpened)


def test_an_alert_may_open_while_a_rehearsal_waits_for_its_signature():
    policy = watching()
    policy.rehearse()
    policy.check([0.0, 0.0], [0.1, 0.1])
    policy = RetrainingPolicy.from_state(json.loads(json.dumps(policy.state())))
    decisions = fed(policy, [3.0] * 9)
    assert [type(each) for each in decisions] == [AlertOpened]
    assert policy.alert_open and policy.step is Step.ROLLOUT
    policy.deployed(policy.next_row)
    assert policy.step is Step.TRIAL


def test_a_rehearsal_needs_rows_that_the_champion_was_not_trained_on():
    with pytest.raises(ValueError, match="has predicted 1 labelled rows; the check needs 2"):
        watching(1).rehearse()
    policy = RetrainingPolicy(SMALL, LIMITS, start=100)
    with pytest.raises(ValueError, match="has predicted 0"):
        policy.rehearse()


def test_a_state_from_before_there_were_rehearsals_is_read():
    state = watching().state()
    del state["loop"]["quiet"]
    assert RetrainingPolicy.from_state(state).step is Step.WATCHING
