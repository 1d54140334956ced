"""The contract's bounds in other words than the service's: what is wrong with something that it accepted.

Nothing of the service's decoder or models is used here. What PostgreSQL would not take, or would take as something
else, is wrong whatever the contract says.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

from models.messages import MAX_BODY_BYTES
from saga.arrivals import OrderRequest
from saga.domain import Event

_MOST = Decimal(10) ** 16
_UUID = re.compile(
    r"(?:urn:uuid:)?\{?([0-9a-fA-F]{8})-?([0-9a-fA-F]{4})-?([0-9a-fA-F]{4})-?([0-9a-fA-F]{4})-?([0-9a-fA-F]{12})\}?"
)
_AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def wrong_with(raw: bytes, work: OrderRequest | Event) -> list[str]:
    """All that is wrong with what became of a body; nothing where it is what the body says, and within bounds."""
    try:
        body = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_float=_Number, parse_constant=_none)
    except ValueError as error:
        return [f"it is not JSON: {error}"]
    if len(raw) > MAX_BODY_BYTES or raw.startswith(b"\xef\xbb\xbf"):
        return ["it is too large, or begins with a byte order mark"]
    if not isinstance(body, dict):
        return ["it is no object"]
    check = _of_request if isinstance(work, OrderRequest) else _of_event
    return list(check(body, work))  # type: ignore[arg-type]


class _Number(str):
    """A number with a point or an exponent, as it was written."""

    __slots__ = ()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)


def _none(word: str) -> None:
    raise ValueError(word)


def _of_request(body: dict[str, Any], work: OrderRequest) -> Iterator[str]:
    if work.event_id is not None:
        yield from _id("eventId", body.get("eventId"), work.event_id)
    if work.chosen != (body.get("orderId") is not None):
        yield f"orderId: {body.get('orderId')!r}, and chosen is {work.chosen}"
    if work.chosen:
        yield from _id("orderId", body.get("orderId"), work.order_id)
    yield from _id("userId", body.get("userId"), work.user_id)
    items = body.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= 100 or len(items) != len(work.items):
        yield f"items: {items!r} became {len(work.items)}"
        return
    total = Decimal(0)
    for given, taken in zip(items, work.items, strict=True):
        if set(taken) != {"productId", "productName", "quantity", "price"}:
            yield f"an item has {sorted(taken)}"
        yield from _id("productId", given.get("productId"), UUID(taken["productId"]))
        yield from _text("productName", given.get("productName"), taken["productName"], range(1, 201))
        quantity, price = given.get("quantity"), given.get("price")
        # JSON has one kind of number: 1.0 and 1E0 are 1
        whole = Decimal(quantity) if type(quantity) in (int, _Number) else None
        if whole is None or not 1 <= whole <= 1_000_000 or whole != taken["quantity"]:
            yield f"quantity: {quantity!r} became {taken['quantity']!r}"
        yield from _money(price, taken["price"])
        total += taken["quantity"] * Decimal(taken["price"])
    if total != work.total_amount or not 0 <= total < _MOST or not work.total_amount.is_finite():
        yield f"the total is {total}, and became {work.total_amount}"


def _of_event(body: dict[str, Any], work: Event) -> Iterator[str]:
    assert work.event_id is not None, "a message has a name"
    yield from _id("eventId", body.get("eventId"), work.event_id)
    yield from _id("orderId", body.get("orderId"), work.order_id)
    is_reply = work.signal != "CancelOrder"
    if is_reply and body.get("causationId") is not None:
        yield from _id("causationId", body["causationId"], work.causation_id)
    elif work.causation_id is not None:
        yield f"causationId: {work.causation_id} came from nowhere"
    failure = work.signal.endswith("Failed")
    retryable = body.get("retryable", False) if failure else False
    if retryable is not work.retryable:
        yield f"retryable: {retryable!r} became {work.retryable}"
    words = [body.get(name) for name in (("message", "reason") if is_reply else ("reason",))]
    expected = ": ".join(word for word in words if word) or None
    yield from _text("words", expected, (work.words or None), range(2 * MAX_BODY_BYTES)) if expected else ()


def _id(name: str, given: object, taken: UUID | None) -> Iterator[str]:
    found = _UUID.fullmatch(given) if type(given) is str else None
    if found is None or taken is None or "".join(found.groups()).lower() != taken.hex:
        yield f"{name}: {given!r} became {taken}"


def _text(name: str, given: object, taken: object, lengths: range) -> Iterator[str]:
    if type(given) is not str or given != taken or len(given) not in lengths:
        yield f"{name}: {given!r:.200} became {taken!r:.200}"
    elif "\x00" in given or any(0xD800 <= ord(letter) <= 0xDFFF for letter in given):
        yield f"{name}: PostgreSQL does not take {given!r:.200}"


def _money(given: object, taken: str) -> Iterator[str]:
    """A number or a text, exactly; out it comes with two decimals and no exponent."""
    is_number = type(given) in (int, _Number)
    if not is_number and not (type(given) is str and _AMOUNT.fullmatch(given)):
        yield f"price: {given!r} became {taken!r}"
    elif not re.fullmatch(r"[0-9]{1,16}\.[0-9]{2}", taken) or Decimal(taken) != Decimal(str(given)):
        yield f"price: {given!r:.200} became {taken!r}"
