"""Whatever AMQP can say is JSON that PostgreSQL takes, and what it was when it is published again."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pamqp import encode
from pydantic_core import to_json

from handlers.bus.amqp_json import MAX_TABLE_BYTES, as_json, from_json, sendable, storable

NESTED: Any = 7
for _ in range(150):
    NESTED = {"a": [NESTED]}

VALUES = some.recursive(
    some.none()
    | some.booleans()
    | some.integers(-(2**63), 2**63 - 1)
    | some.floats(allow_nan=False)
    | some.text(some.characters())
    | some.binary()
    | some.datetimes(timezones=some.just(UTC))
    | some.decimals(allow_nan=False),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(some.characters()), inner),
)


@given(VALUES)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    written = json.loads(to_json(as_json(value)))
    assert from_json(written) == value
    assert "\\u0000" not in json.dumps(written).replace("\\\\u0000", "")


# tables are large
@settings(max_examples=settings().max_examples // 5)
@given(some.dictionaries(some.text(some.characters(exclude_categories=["Cs"]), max_size=40), VALUES))
def test_every_table_can_be_sent_on(table: dict[str, Any]) -> None:
    encode.field_table(sendable(table))


@pytest.mark.parametrize(
    "value",
    ["a\x00b", "\ud800", b"\xff\x00", float("inf"), 1e300, Decimal("1.50"), datetime(2026, 1, 1, tzinfo=UTC), NESTED],
)
def test_what_json_or_postgresql_cannot_say_comes_back(value: Any) -> None:
    assert from_json(json.loads(to_json(as_json({"x": [value]})))) == {"x": [value]}


def test_a_table_that_looks_like_ours_is_not_taken_for_it() -> None:
    for table in ({"$bytes": "AA=="}, {"$table": [[1, 2]]}, {"a": {"$lost": 1}}):
        assert from_json(as_json(table)) == table


def test_what_is_nested_without_end_or_unknown_does_not_fail() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    to_json(as_json({"deep": deep, "unknown": object()}))
    assert sendable({"deep": deep}).keys() == {"x-headers-dropped"}


def test_what_the_client_library_cannot_send_becomes_text_and_what_is_too_large_is_dropped() -> None:
    assert sendable({"a": 1e300, "b": b"\xff", "c": Decimal(2**40), "d": 2**70, "e": 1.5}) == {
        "a": "1e+300",
        "b": bytearray(b"\xff"),
        "c": "1099511627776",
        "d": str(2**70),
        "e": 1.5,
    }
    assert sendable({"a": "x" * MAX_TABLE_BYTES}).keys() == {"x-headers-dropped"}


def test_text_is_clipped_and_cleaned() -> None:
    assert storable("a\x00\ud800bc", 4) == "a\ufffd\ufffdb"
