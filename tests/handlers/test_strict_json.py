"""What both doors take for JSON, and the words in which they refuse the rest."""

from decimal import Decimal
from typing import Any

import pytest

from handlers.strict_json import TooLargeError, UnreadableError, decode
from models.messages import MAX_BODY_BYTES

DEEP = 200

READ: list[tuple[bytes, Any]] = [
    (b"1", 1),
    (b"-0", 0),
    (b"1.0", Decimal("1.0")),
    (b"1E0", Decimal(1)),
    (b"-0.0", Decimal("-0.0")),
    (b"1e400", Decimal("1e400")),
    (b"0.1", Decimal("0.1")),
    (b"12345678901234567890.12", Decimal("12345678901234567890.12")),
    (b"9" * 4300, 10**4300 - 1),
    (b"[" * DEEP + b"]" * DEEP, None),
    (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
    (b'"\\u0000"', "\x00"),
    (b'{"a": 1, "A": 2}', {"a": 1, "A": 2}),
    (b"\r\n\t null ", None),
]
REFUSED = [
    (b"", "EOF while parsing a value at line 1 column 0"),
    (b"NaN", "expected value at line 1 column 1"),
    (b"-Infinity", "invalid number at line 1 column 2"),
    (b"9" * 4301, "number out of range at line 1 column 4301"),
    (b"[1,\n 1e99999999999999999999]", "number out of range at line 2 column 24"),
    (b"[" * (DEEP + 2) + b"]" * (DEEP + 2), "recursion limit exceeded at line 1 column 202"),
    (b'"\\ud800"', "unexpected end of hex escape at line 1 column 8"),
    (b'"\xed\xa0\x80"', "invalid unicode code point at line 1 column 2"),
    (b"\xef\xbb\xbf{}", "expected value at line 1 column 1"),
    ("{}".encode("utf-16"), "expected value at line 1 column 1"),
    (b"{} {}", "trailing characters at line 1 column 4"),
    (b'{"a": 1,\n"b": {"\\u0061": 1, "a": 2}}', 'the key "a" is there twice, at line 2 column 24'),
    (b'{"\\u0000\\u202e": 1, "\\u0000\\u202e": 2}', r'the key "\0\u{202e}" is there twice, at line 1 column 36'),
]


@pytest.mark.parametrize(("body", "value"), READ, ids=lambda one: repr(one)[:40])
def test_json_is_read_exactly(body: bytes, value: Any) -> None:
    read = decode(body)
    if value is not None:
        assert (type(read), repr(read)) == (type(value), repr(value))


@pytest.mark.parametrize(("body", "words"), REFUSED, ids=lambda one: repr(one)[:40])
def test_whatever_else_is_refused_in_words_that_name_the_place(body: bytes, words: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        decode(body)
    assert str(caught.value) == f"the body is not JSON: {words}"


def test_a_repeated_key_is_named_by_its_beginning() -> None:
    with pytest.raises(UnreadableError) as caught:
        decode(b'{"%b": 1, "%b": 2}' % (b"k" * 100_000, b"k" * 100_000))
    assert len(str(caught.value)) < 200


def test_a_body_over_1_mib_is_not_looked_at() -> None:
    with pytest.raises(TooLargeError):
        decode(b" " * (MAX_BODY_BYTES + 1))
