import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usecases.domain.tables import number, read_table
from usecases.domain.errors import InvalidInput
from usecases.domain.ratings import Rating, aggregate, on_measured, rater_shares
from usecases.domain.weights import aggregate_judgements, reciprocal_matrix

ROLES = {"plant manager": 2.0, "OT engineer": 1.0, "data scientist": 1.0}
RATERS = {
    "plant manager": "plant manager",
    "OT engineer": "OT engineer",
    "OT engineer 2": "OT engineer",
    "data scientist": "data scientist",
}


def test_the_group_says_what_the_page_says():
    rows = read_table("scoring", "scoring-raters")
    ratings = [
        Rating(rater, role, row["criterion"], None if row[rater] == "don't know" else number(row[rater]))
        for row in rows
        for rater, role in RATERS.items()
        if row[rater] != "-"
    ]
    group = aggregate(
        [r["criterion"] for r in rows], ratings, role_weights=ROLES, minimum_raters=dict.fromkeys(ROLES, 1)
    )
    for row in rows:
        one = group[row["criterion"]]
        assert one.value == pytest.approx(number(row["value"]), abs=5e-5, nan_ok=True)
        assert one.spread == number(row["spread"])
        assert one.disagrees == (row["disagrees"] == "yes")
        assert (", ".join(one.missing_roles) or "none") == row["missing"]
        assert one.enough == (row["missing"] == "none")


def test_who_disagrees_is_named():
    ratings = [Rating("ada", "ot", "c", 1), Rating("bob", "ot", "c", 5), Rating("cy", "ot", "c", None)]
    one = aggregate(["c"], ratings, role_weights={"ot": 1})["c"]
    assert (one.lowest, one.highest, one.count, one.dont_know) == (("ada", 1), ("bob", 5), 2, 1)


def test_a_role_without_a_weight_is_heard_but_moves_nothing():
    ratings = [Rating("ada", "ot", "c", 2), Rating("guest", "visitor", "c", 5)]
    one = aggregate(["c"], ratings, role_weights={"ot": 1})["c"]
    assert (one.value, one.spread, one.disagrees) == (2, 3, True)
    assert math.isnan(aggregate(["c"], ratings[1:], role_weights={"ot": 1})["c"].value)


@pytest.mark.parametrize(
    ("ratings", "code"),
    [
        ([Rating("ada", "ot", "x", 2)], "criterion_unknown"),
        ([Rating("ada", "ot", "c", 2), Rating("ada", "ot", "c", 3)], "rated_twice"),
        ([Rating("ada", "ot", "c", 5.1)], "rating_off_scale"),
        ([Rating("ada", "ot", "c", float("nan"))], "rating_off_scale"),
    ],
)
def test_a_bad_rating_is_refused(ratings, code):
    with pytest.raises(InvalidInput) as refused:
        aggregate(["c"], ratings, role_weights={"ot": 1})
    assert refused.value.code == code


def test_a_negative_role_weight_is_refused():
    with pytest.raises(InvalidInput):
        aggregate(["c"], [], role_weights={"ot": -1})


def test_a_measured_value_stands_for_who_does_not_depart_from_it():
    for row in read_table("scoring", "scoring-overrides"):
        instead = {rater: number(row[rater]) for rater in RATERS if row[rater] != "-"}
        one = aggregate(["c"], on_measured("c", 4.0, RATERS, instead), role_weights=ROLES)["c"]
        assert one.value == pytest.approx(number(row["value"]))


def test_comparisons_are_joined_with_a_role_s_weight_divided_among_its_people():
    rows = read_table("scoring", "scoring-pairs-group")
    people = ["plant manager", "OT engineer", "OT engineer 2"]
    shares = rater_shares({person: RATERS[person] for person in people}, ROLES)
    assert shares == {"plant manager": 2.0, "OT engineer": 0.5, "OT engineer 2": 0.5}

    def at(row):
        first, second = row["pair"].split(":")
        return int(first) - 1, int(second) - 1

    matrices = [reciprocal_matrix(3, {at(row): number(row[person]) for row in rows}) for person in people]
    group = aggregate_judgements(matrices, [shares[person] for person in people])
    for row in rows:
        assert group[at(row)] == pytest.approx(number(row["group"]), abs=5e-5)
    assert np.allclose(group * group.T, 1.0)


_ratings = st.floats(0, 5, allow_nan=False)


@given(
    measured=_ratings,
    seats=st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["ot", "manager", "data"]), min_size=1),
    instead=st.dictionaries(st.sampled_from("abcdef"), _ratings),
)
def test_the_group_lies_between_the_measured_value_and_those_who_depart_from_it(measured, seats, instead):
    weights = {"ot": 1.0, "manager": 2.0, "data": 0.5}
    departing = {rater: value for rater, value in instead.items() if rater in seats}
    value = aggregate(["c"], on_measured("c", measured, seats, departing), role_weights=weights)["c"].value
    among = [measured, *departing.values()]
    assert min(among) - 1e-9 <= value <= max(among) + 1e-9
    if not departing:
        assert value == pytest.approx(measured)


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.sampled_from(["ot", "manager"]), min_size=1))
def test_shares_of_a_role_add_up_to_its_weight(seats):
    weights = {"ot": 1.0, "manager": 3.0}
    shares = rater_shares(seats, weights)
    for role in set(seats.values()):
        assert sum(shares[rater] for rater in seats if seats[rater] == role) == pytest.approx(weights[role])
