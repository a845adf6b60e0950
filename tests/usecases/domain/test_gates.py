from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usecases.domain.tables import number, read_table
from usecases.domain.errors import InvalidInput
from usecases.domain.gates import (
    Availability,
    Comparator,
    Criterion,
    CriterionState,
    Decision,
    EvidenceState,
    GateState,
    History,
    Measurement,
    Result,
    Waiver,
    allowed_decisions,
    evaluate,
    evidence_state,
    freeze_evidence,
    frozen_criteria,
    gate_state,
    regressions,
)
from usecases.domain.snapshot import verify

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def measurement(says: str, value: str, age: str) -> Measurement | None:
    match says.split():
        case ["measured"]:
            return Measurement.of(float(value), NOW - number(age) * DAY, "/checks/1")
        case ["not_measured"]:
            return Measurement.missing("The gateway has not reported yet.")
        case ["not_applicable"]:
            return Measurement.not_applicable("Trees are not quantised.")
        case ["not_yet_due", "in", days]:
            return Measurement.not_yet_due(NOW + float(days) * DAY)
        case ["nothing"]:
            return None
    raise AssertionError(says)


def waiver(cell: str) -> Waiver | None:
    if cell == "-":
        return None
    days, *officer = cell.split()
    return Waiver("Ada", "Spare part is on its way.", NOW - DAY, NOW - DAY + int(days) * DAY, officer == ["officer"])


@pytest.mark.parametrize("row", read_table("gates", "gates-states"), ids=lambda r: "-".join(r.values()))
def test_states_are_those_of_the_page(row):
    criterion = Criterion(
        "share",
        Comparator.AT_LEAST,
        0.9,
        max_age=7 * DAY,
        safety=row["safety"] == "yes",
        grace=number(row["grace"]) * DAY,
    )
    history = None
    if row["was met"] == "yes":
        history = History(NOW - 30 * DAY, slipped_at=NOW - number(row["open for"]) * DAY)
    result = evaluate(
        criterion,
        measurement(row["says"], row["value"], row["age"]),
        now=NOW,
        waiver=waiver(row["waiver"]),
        history=history,
    )
    assert result.state == row["state"]
    assert (result.why or "-") == row["why"]


def test_a_slip_that_nobody_noticed_before_starts_its_grace_now():
    criterion = Criterion("c", Comparator.AT_MOST, 5, grace=3 * DAY)
    result = evaluate(criterion, Measurement.of(6, NOW), now=NOW, history=History(NOW - DAY))
    assert (result.state, result.slipped_at, result.deadline) == (CriterionState.SLIPPED, NOW, NOW + 3 * DAY)
    assert result.measured_state == CriterionState.NOT_MET


def test_a_row_carries_what_a_page_shows():
    held = Waiver("Ada", "why", NOW - DAY, NOW + DAY)
    result = evaluate(
        Criterion("c", Comparator.AT_MOST, 5, unit="mg/m3"), Measurement.of(4, NOW - DAY, "/x"), now=NOW, waiver=held
    )
    assert (result.value, result.age, result.link, result.waiver) == (4, DAY, "/x", held)


@pytest.mark.parametrize(
    ("comparator", "upper", "passes", "fails"),
    [
        (Comparator.AT_LEAST, None, [5, 6], [4.9]),
        (Comparator.AT_MOST, None, [5, 4], [5.1]),
        (Comparator.ABOVE, None, [5.1], [5]),
        (Comparator.BELOW, None, [4.9], [5]),
        (Comparator.EQUALS, None, [5, 5 + 1e-13], [5.001]),
        (Comparator.BETWEEN, 7.0, [5, 6, 7], [4.9, 7.1]),
    ],
)
def test_comparators(comparator, upper, passes, fails):
    criterion = Criterion("c", comparator, 5, upper)
    assert all(criterion.holds(v) for v in passes)
    assert not any(criterion.holds(v) for v in fails)


def rows_of(cell: str) -> list[Result]:
    rows = []
    for part in cell.split(", "):
        name, state = part.split()
        optional = name.endswith("(o)")
        key = name.removesuffix("(o)")
        criterion = Criterion(
            key, Comparator.AT_LEAST, 1, safety=key == "S", essential=key == "E", required=not optional
        )
        rows.append(Result(criterion, CriterionState(state), CriterionState(state)))
    return rows


@pytest.mark.parametrize("row", read_table("gates", "gates-decisions"), ids=lambda r: r["criteria"])
def test_decisions_are_those_of_the_page(row):
    options = {o.decision: o for o in allowed_decisions(rows_of(row["criteria"]))}
    for decision, column in ((Decision.GO, "go"), (Decision.CONDITIONAL_GO, "conditional go")):
        option = options[decision]
        assert option.allowed == (row[column] == "yes")
        way = f"{option.why}: {' '.join(option.criteria)}" if option.criteria else option.why
        assert ("-" if option.allowed else way) == row[f"in the way of {column}"]
    assert all(options[d].allowed for d in (Decision.HOLD, Decision.RECYCLE, Decision.KILL))
    ready = evidence_state(rows_of(row["criteria"])) == EvidenceState.COMPLETE
    assert ready == options[Decision.GO].allowed


def test_a_conditional_go_names_its_conditions():
    conditional = allowed_decisions(rows_of("A met, B not_met"))[1]
    assert conditional.allowed and conditional.criteria == ("B",)
    assert not allowed_decisions(rows_of("A met, B not_met"), max_conditions=0)[1].allowed


def frozen_of(cell: str):
    return frozen_criteria(freeze_evidence(rows_of(cell), now=NOW, context={}).document)


@pytest.mark.parametrize("row", read_table("gates", "gates-regression"), ids=lambda r: f"{r['then']} / {r['now']}")
def test_regressions_are_those_of_the_page(row):
    then, current = frozen_of(row["then"]), rows_of(row["now"])
    worse = regressions(then, current)
    assert (" ".join(sorted(r.key for r in worse)) or "-") == row["regressed"]
    assert (" ".join(r.key for r in worse if r.reopens) or "-") == row["reopens"]
    assert gate_state(current, now=NOW, decision=Decision.GO, frozen=then) == row["gate"]


def test_a_conditional_go_lives_by_its_deadlines():
    then = frozen_of("A met, B not_met")

    def state(cell: str, due: datetime) -> GateState:
        rows = rows_of(cell)
        return gate_state(rows, now=NOW, decision=Decision.CONDITIONAL_GO, frozen=then, conditions={"B": due})

    assert state("A met, B not_met", NOW + DAY) == GateState.PASSED_CONDITIONALLY
    assert state("A met, B met", NOW + DAY) == GateState.PASSED
    assert state("A met, B not_met", NOW) == GateState.REOPENED
    assert state("A met", NOW + DAY) == GateState.PASSED_CONDITIONALLY
    assert state("A not_met, B not_met", NOW + DAY) == GateState.REOPENED


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (None, GateState.READY),
        (Decision.HOLD, GateState.ON_HOLD),
        (Decision.RECYCLE, GateState.RECYCLED),
        (Decision.KILL, GateState.KILLED),
    ],
)
def test_other_decisions_stand_until_the_next(decision, expected):
    assert gate_state(rows_of("A met"), now=NOW, decision=decision) == expected


def test_a_gate_without_criteria_is_not_ready():
    assert gate_state([], now=NOW) == GateState.NOT_READY
    assert evidence_state(rows_of("A met, B slipped")) == EvidenceState.SLIPPING


def test_frozen_evidence_verifies_and_any_change_shows():
    rows = [
        evaluate(
            Criterion("b", Comparator.AT_LEAST, 0.9, max_age=DAY),
            Measurement.of(0.95, NOW - timedelta(hours=1), "/checks/7"),
            now=NOW,
        ),
        evaluate(
            Criterion("a", Comparator.AT_MOST, 3.0),
            None,
            now=NOW,
            waiver=Waiver("Ada", "why", NOW - DAY, NOW + DAY),
        ),
    ]
    snapshot = freeze_evidence(rows, now=NOW, context={"gate": 3, "use_case": "nox"})
    turned = freeze_evidence(rows[::-1], now=NOW, context={"use_case": "nox", "gate": 3})
    assert snapshot.sha256 == turned.sha256
    assert verify(snapshot.document, snapshot.sha256)
    frozen = frozen_criteria(snapshot.document)
    assert (frozen["b"].value, frozen["a"].state) == (0.95, CriterionState.WAIVED)
    forged = {**snapshot.document, "criteria": [{**c, "value": 0.99} for c in snapshot.document["criteria"]]}
    assert not verify(forged, snapshot.sha256)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: Criterion("c", Comparator.AT_LEAST, float("nan")), "threshold_not_a_number"),
        (lambda: Criterion("c", Comparator.BETWEEN, 1), "range_incomplete"),
        (lambda: Criterion("c", Comparator.AT_LEAST, 1, 2), "range_incomplete"),
        (lambda: Criterion("c", Comparator.BETWEEN, 2, 1), "range_reversed"),
        (lambda: Criterion("c", Comparator.BELOW, 2, max_age=timedelta(0)), "duration_negative"),
        (lambda: Criterion("c", Comparator.BELOW, 2, grace=-DAY), "duration_negative"),
        (lambda: Measurement(Availability.MEASURED, 1.0), "measurement_incomplete"),
        (lambda: Measurement.missing(" "), "reason_missing"),
        (lambda: Measurement.not_applicable(""), "reason_missing"),
        (lambda: Measurement(Availability.NOT_YET_DUE), "due_missing"),
        (lambda: Measurement.of(1, datetime(2026, 1, 1)), "time_without_zone"),  # noqa: DTZ001
        (lambda: Waiver("Ada", "", NOW, NOW + DAY), "waiver_incomplete"),
        (lambda: Waiver("Ada", "why", NOW, NOW), "waiver_expires_early"),
        (lambda: evaluate(Criterion("c", Comparator.BELOW, 2), None, now=datetime(2026, 1, 1)), "time_without_zone"),  # noqa: DTZ001
        (lambda: freeze_evidence(rows_of("A met, A met"), now=NOW, context={}), "criterion_twice"),
        (lambda: frozen_criteria({"schema": "other"}), "snapshot_unknown"),
    ],
)
def test_bad_input_is_refused(call, code):
    with pytest.raises(InvalidInput) as refused:
        call()
    assert refused.value.code == code


states = st.lists(st.sampled_from(list(CriterionState)), min_size=1, max_size=6)


@given(states)
def test_a_go_needs_less_than_nothing_open_and_implies_a_conditional_go(chosen):
    rows = rows_of(", ".join(f"K{i} {state}" for i, state in enumerate(chosen)))
    go, conditional, *_ = allowed_decisions(rows)
    assert not (go.allowed and any(r.is_open for r in rows))
    assert conditional.allowed or not go.allowed


@given(states)
def test_nothing_regresses_against_itself(chosen):
    cell = ", ".join(f"K{i} {state}" for i, state in enumerate(chosen))
    assert regressions(frozen_of(cell), rows_of(cell)) == ()
