import math

import pytest

from tests.usecases.domain.tables import number, read_table
from usecases.domain.errors import InvalidInput
from usecases.domain.ratings import Rating, aggregate

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
