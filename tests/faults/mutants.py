"""Messages that are nearly right: valid ones, changed in a thousand ways. The same seed gives the same bytes.

A mutation works on what a message is made of at one of three heights: its bytes, its JSON text, or one token of that
text. Most mutants are therefore wrong at one place only, and get as far as a message can that should not.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from models.messages import MAX_BODY_BYTES, REPLIES, Failure

CREATE, CANCEL = "domain.order.CreateOrder", "domain.order.CancelOrder"
ANSWERS = {f"domain.{reply.service}.{reply.__name__}": reply for reply in REPLIES}
KEYS = (CREATE, CANCEL, *ANSWERS)
"""Every routing key that the service consumes."""
ORDER, CANCELLING, RESOLVE, COMPENSATE = "orders", "cancel", "resolve", "compensate"
BODIES = (ORDER, ORDER, ORDER, CANCELLING, RESOLVE, COMPENSATE)
"""What HTTP takes a body for, as often as it should come."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9.]+|true|false|null')
_MEMBER = re.compile(r'"[A-Za-z]+": ?')
_ID = "5b1f7f0e-9a3e-4c40-8d1f-0f6f2a6e0c11"
_IDS = (
    _ID.upper(), f"{{{_ID}}}", f"urn:uuid:{_ID}", _ID.replace("-", ""), f" {_ID}", f"{_ID}\\n", f"{_ID}0", _ID[:-1],
    _ID.replace("5", "\\uff15"), _ID.replace("1", "\\u0661"), _ID.replace("-", "\\u2010"), f"urn:uuid:{{{_ID}}}",
    "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", _ID.replace("-", "--"), "",
)  # fmt: skip
_NUMBERS = (
    "0", "-0", "-0.0", "1e2", "1E+2", "1.5e0", "1.50", "1.500", "12e-1", "1e-2", "1e-3", "0.1e1", "1.0", "1e0", "0.001",
    "0.005", "-1", "-0.01", "1000000", "1000001", "9999999999999999.99", "9999999999999999", "10000000000000000",
    "1e15", "1e16", "1e400", "1e-400", "0e999999999", "1e999999999", "1e-999999999", "1e99999999999999999999",
    "2147483648",
    "9223372036854775808", "1e1000000", "0.1000000000000000055511151231257827", "01", "1.", ".5", "+1", "0x10", "1_000",
    "NaN", "Infinity", "-Infinity", "nan", "9" * 400, "9" * 5000, "1." + "0" * 500, "0." + "0" * 500 + "1",
    "\\uff11", "1e", "--1", "1e+", "4" * 17 + ".00",
)  # fmt: skip
_TEXTS = (
    "", " ", "\\u0000", "a\\u0000b", "\\ud800", "\\udfff", "\\ud83d\\ude00", "\\ude00\\ud83d", "x\\ud800y", "\\ufeff",
    "\\uffff", "\\u202e", "\\u2028", "\\u0085", "\\u001b[31m", "\\n\\r\\t", "\\x41", "\\u12", "\\", "\\u0061\\u0301",
    "\x00", "\x1f", "\n", "\u2028", "\ufeff", "\U0001f600", "😀" * 100, "😀" * 101, "x" * 199, "x" * 200, "x" * 201,
    "x" * 70_000, "\\u00e9" * 200, "%s%n", "'; DROP TABLE orders; --", "${7*7}", "2026-01-15T09:30:00Z", "true",
    "1299.99", "1e2", "+1", " 1", "-0.00", "-1.00", "1.005", "NaN", "\uff11", "1,5", "1" * 17, "0" * 400,
    "0." + "0" * 400,
)  # fmt: skip
_VALUES = (
    "null", "true", "false", "[]", "{}", "[[]]", "[null]", '[""]', '{"a": 1}', '{"": null}', "undefined", "None",
    "True", "'x'", "", "[1, 2", '{"a"', "//", "/* */ 1", '{"$text": "a"}', '{"eventId": 1}', "[" * 40 + "]" * 40,
)  # fmt: skip
_NAMES = ("", " ", "__proto__", "event_id", "EventId", "eventId ", "\\u0065ventId", "eventId\\u0000", "id", "$", "a.b")


def valid(key: str, random: Random) -> dict[str, Any]:
    """A message that belongs on this routing key, or a body for HTTP, with every field that it may have."""
    order = {"userId": an_id(random), "items": [an_item(random) for _ in range(random.choice((1, 1, 2, 3)))]}
    match key:
        case "orders":
            return order
        case "cancel" | "compensate":
            return {"reason": "changed my mind"}
        case "resolve":
            return {"outcome": random.choice(("succeeded", "failed")), "reason": "é", "step": "ReserveInventory"}
    body: dict[str, Any] = {"eventId": an_id(random), "orderId": an_id(random)}
    if key == CREATE:
        return body | order
    if key == CANCEL:
        return body | {"reason": "changed my mind"}
    body |= {"sagaId": an_id(random), "causationId": an_id(random), "occurredAt": "2026-01-15T09:30:00.000000Z"}
    body |= {"message": "So it is: é", "reason": "because"}
    return body | ({"retryable": random.random() < 0.5} if issubclass(ANSWERS[key], Failure) else {})


def an_item(random: Random) -> dict[str, Any]:
    """A line of an order."""
    price: Any = random.choice((1299.99, 5, "0.10", "1299.99", 0))
    return {"productId": an_id(random), "productName": "Laptop", "quantity": random.randint(1, 9), "price": price}


def an_id(random: Random) -> str:
    """A UUID like no other."""
    return str(UUID(int=random.getrandbits(128), version=4))


# ------------------------------------------------------------------------------------------------------------- bytes


def _flip(raw: bytes, random: Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(random.randint(1, 4)):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(raw: bytes, random: Random) -> bytes:
    return raw[: random.randrange(len(raw))]


def _splice(raw: bytes, random: Random) -> bytes:
    """A piece is lost, or there twice."""
    one, other = sorted(random.randrange(len(raw)) for _ in range(2))
    return raw[:one] + raw[other:] if random.random() < 0.5 else raw[:other] + raw[one:]


def _noise(raw: bytes, random: Random) -> bytes:
    at = random.randrange(len(raw) + 1)
    return raw[:at] + random.randbytes(random.randint(1, 4)) + raw[at:]


def _encode(raw: bytes, random: Random) -> bytes:
    encoding = random.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1", "utf-7", "cp037"))
    return raw.decode().encode(encoding)


def _around(raw: bytes, random: Random) -> bytes:
    odd = (b" ", b"\n", b"\x00", b"{}", b",", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x0c", b"null")
    before, after = random.choice(((b"", random.choice(odd)), (random.choice(odd), b"")))
    return before + raw + after


def _many(raw: bytes, random: Random) -> bytes:
    """A list for an object, or several objects."""
    form = random.choice(
        (b"[%b]", b"[%b,%b]", b"%b%b", b"%b\n%b", b'{"a":%b}', b'"%b"', b"", b" ", b"null", b"7", b"[]")
    )
    return form.replace(b"%b", raw)


# -------------------------------------------------------------------------------------------------------------- text


def _swap(raw: bytes, random: Random) -> bytes:
    """Two values of the message change places."""
    text = raw.decode()
    one, other = sorted(random.sample(list(_TOKEN.finditer(text)), 2), key=lambda token: token.start())
    between = text[one.end() : other.start()]
    return f"{text[: one.start()]}{other[0]}{between}{one[0]}{text[other.end() :]}".encode()


def _twice(raw: bytes, random: Random) -> bytes:
    """A member is there twice, the second time in other words."""
    text = raw.decode()
    at = random.choice(list(_MEMBER.finditer(text)))
    name = at[0][1:].split('"')[0]
    other = random.choice((name, f"\\u{ord(name[0]):04x}{name[1:]}", _snake(name), name.upper()))
    return f'{text[: at.start()]}"{other}": {_odd(random)}, {text[at.start() :]}'.encode()


def _rename(raw: bytes, random: Random) -> bytes:
    text = raw.decode()
    at = random.choice(list(_MEMBER.finditer(text)))
    name = at[0][1:].split('"')[0]
    other = random.choice((*_NAMES, _snake(name), _snake(name), name.lower(), f"{name} "))
    return f'{text[: at.start()]}"{other}": {text[at.end() :]}'.encode()


def _more(raw: bytes, random: Random) -> bytes:
    """A member that nobody knows, or one that belongs to another message."""
    names = (*_NAMES, "order_id", "user_id", "retryable", "message", "items", "occurredAt", "price", "traceparent")
    return b'{"%b": %b, %b' % (random.choice(names).encode(), _odd(random).encode(), raw[1:])


def _deep(raw: bytes, random: Random) -> bytes:
    depth = random.choice((2, 30, 100, 500, 990, 2000, 5000))
    opening, closing = random.choice((("[", "]"), ('{"a":', "}"), ("[" * 3, "")))
    nest = opening * depth + "1" + closing * depth
    return b'{"unknown": %b, %b' % (nest.encode(), raw[1:]) if random.random() < 0.5 else nest.encode()


def _huge(raw: bytes, random: Random) -> bytes:
    size = random.choice((1000, 100_000, MAX_BODY_BYTES - len(raw) - 8, MAX_BODY_BYTES - len(raw) - 7, MAX_BODY_BYTES))
    return b'{"x": "%b", %b' % (b"x" * max(size - 2, 0), raw[1:])


# ------------------------------------------------------------------------------------------------------------- token


def _token(raw: bytes, random: Random) -> bytes:
    """One value, or a name, becomes an odd one."""
    text = raw.decode()
    at = random.choice(list(_TOKEN.finditer(text)))
    return f"{text[: at.start()]}{_odd(random)}{text[at.end() :]}".encode(errors="surrogatepass")


def _same_kind(raw: bytes, random: Random) -> bytes:
    """A value becomes an odd one of its own kind: an id an odd id, an amount an odd amount."""
    text = raw.decode()
    at = random.choice([one for one in _TOKEN.finditer(text) if text[one.end() : one.end() + 1] != ":"])
    token = at[0]
    if len(token) == len(_ID) + 2 and token[9] == "-":
        odd = f'"{random.choice(_IDS)}"'
    elif token[0] == '"':
        odd = f'"{random.choice(_TEXTS)}"'
    else:
        odd = random.choice(_NUMBERS)
    return f"{text[: at.start()]}{odd}{text[at.end() :]}".encode(errors="surrogatepass")


def _odd(random: Random) -> str:
    match random.randrange(4):
        case 0:
            return f'"{random.choice(_IDS)}"'
        case 1:
            return f'"{random.choice(_TEXTS)}"'
        case 2:
            return random.choice(_NUMBERS)
        case _:
            return random.choice(_VALUES)


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


Mutation = Callable[[bytes, Random], bytes]
MUTATIONS: dict[str, tuple[Mutation, int]] = {
    "bits": (_flip, 8),
    "cut": (_cut, 3),
    "splice": (_splice, 4),
    "noise": (_noise, 4),
    "encoding": (_encode, 2),
    "around": (_around, 3),
    "list": (_many, 3),
    "swap": (_swap, 8),
    "twice": (_twice, 8),
    "rename": (_rename, 8),
    "more": (_more, 8),
    "deep": (_deep, 1),
    "token": (_token, 20),
    "kind": (_same_kind, 40),
}
"""By name: how, and how often among all."""
_HUGE_EVERY = 2_000
"""Bodies of a megabyte are rare, since they cost as much as a thousand others."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A body, where it is sent, and what was done to it."""

    key: str
    body: bytes
    how: str


class Mutants:
    """Mutants without end, of every message that the service consumes.

    Args:
        seed: gives the same ones again.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._names = list(MUTATIONS)
        self._weights = [weight for _, weight in MUTATIONS.values()]
        self._made = 0

    def next(self, key: str | None = None) -> Mutant:
        """One more, for this routing key or for the next in turn."""
        self._made += 1
        key = key or KEYS[self._made % len(KEYS)]
        raw = json.dumps(valid(key, self.random), ensure_ascii=self.random.random() < 0.5).encode()
        if self._made % _HUGE_EVERY == 0:
            return Mutant(key, _huge(raw, self.random), "huge")
        (how,) = self.random.choices(self._names, self._weights)
        return Mutant(key, MUTATIONS[how][0](raw, self.random), how)
