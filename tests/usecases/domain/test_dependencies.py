from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from usecases.domain.dependencies import circle, directly, through_others

CHAIN = [("b", "a"), ("c", "b"), ("d", "c"), ("c", "a")]


def test_dependents_directly_and_through_others():
    direct = directly(CHAIN)
    assert direct["a"] == {"b", "c"}
    assert through_others(direct, "a") == {"d"}
    assert through_others(direct, "d") == set()


def test_a_circle_names_the_shortest_way_round():
    assert circle({"a": ["b", "c"], "b": ["d"], "d": ["a"], "c": ["a"]}, "a") == ["a", "c", "a"]
    assert circle({"a": ["b"], "b": ["c"], "c": ["a"]}, "b") == ["b", "c", "a", "b"]
    assert circle({"a": ["a"]}, "a") == ["a", "a"]
    assert circle({"a": ["b"], "b": ["c"], "c": ["b"]}, "a") == []


edges = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20)


@given(edges, st.integers(0, 6))
def test_a_circle_is_a_way_that_exists_and_is_found_if_there_is_one(pairs, start):
    depends_on: dict[int, set[int]] = {}
    for one, other in pairs:
        depends_on.setdefault(one, set()).add(other)
    way = circle(depends_on, start)
    reached, ahead = set(), set(depends_on.get(start, ()))
    while ahead - reached:
        reached |= ahead
        ahead = {b for a in reached for b in depends_on.get(a, ())}
    assert bool(way) == (start in reached)
    assert all((one, other) in pairs for one, other in pairwise(way))


@given(edges, st.integers(0, 6))
def test_nobody_is_counted_twice(pairs, start):
    direct = directly(pairs)
    assert not through_others(direct, start) & set(direct.get(start, ()))
