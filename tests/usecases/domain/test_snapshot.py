import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usecases.domain.tables import read_table
from usecases.domain.errors import InvalidInput
from usecases.domain.snapshot import canonical_json, digest, freeze, plain, verify


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize("row", read_table("gates", "gates-canonical"), ids=lambda r: r["canonical"])
def test_the_spelling_is_that_of_the_page(row):
    assert canonical_json(json.loads(row["document"])) == row["canonical"]


def test_types_have_one_spelling():
    berlin = timezone(timedelta(hours=1))
    document = {
        "t": datetime(2026, 1, 1, 1, 0, 0, 123456, tzinfo=berlin),
        "d": date(2026, 1, 2),
        "m": Decimal("1.50"),
        "u": UUID(int=1),
        "e": Colour.RED,
        "l": (1, True, None),
    }
    assert plain(document) == {
        "t": "2026-01-01T00:00:00.123Z",
        "d": "2026-01-02",
        "m": "1.50",
        "u": "00000000-0000-0000-0000-000000000001",
        "e": "red",
        "l": [1, True, None],
    }


def test_keys_sort_by_utf16_and_not_by_code_point():
    assert canonical_json({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'


def test_a_known_hash():
    # printf '{"a":1,"b":[true,null]}' | sha256sum
    assert digest({"b": [True, None], "a": 1.0}) == "1cc69c7fa23616ca2ec3ee70d24390a6225c8832db8a4c814c7e0e7f942f8668"


@pytest.mark.parametrize(
    ("value", "code", "field"),
    [
        ({"a": [1, float("nan")]}, "number_not_finite", "$.a[1]"),
        ({"a": Decimal("Infinity")}, "number_not_finite", "$.a"),
        ({1: 2}, "key_not_text", "$"),
        ({"a": {2, 3}}, "not_freezable", "$.a"),
        ({"a": "\ud800"}, "text_not_unicode", "$"),
        ({"a": datetime(2026, 1, 1)}, "time_without_zone", "time"),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_frozen_is_refused(value, code, field):
    with pytest.raises(InvalidInput) as refused:
        digest(value)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_verification_never_raises():
    assert not verify({"a": float("nan")}, "0" * 64)
    assert not verify({"a": 1}, "€")
    assert verify({"a": datetime(2026, 1, 1, tzinfo=UTC)}, digest({"a": "2026-01-01T00:00:00.000Z"}).upper())


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
documents = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé€"), inner, max_size=4)
    ),
    max_size=6,
)


@given(documents, st.randoms())
def test_the_hash_does_not_depend_on_the_order_of_keys(document, random):
    def shuffled(value):
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    assert digest(document) == digest(shuffled(document))


@given(documents)
def test_the_hash_survives_a_json_store(document):
    snapshot = freeze(document)
    assert verify(json.loads(json.dumps(snapshot.document)), snapshot.sha256)
    assert json.loads(canonical_json(document)) == snapshot.document
