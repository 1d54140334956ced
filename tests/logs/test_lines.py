"""The form of a line, and what may stand in it."""

import logging
import os
import re
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg.exceptions import UniqueViolationError
from asyncpg.pgproto import pgproto
from sqlalchemy.exc import IntegrityError
from structlog.contextvars import bound_contextvars

from models.states import Command, EntryStatus
from saga.domain import Outcome
from saga.errors import BusAwayError, DifferentContentError, UnknownOrderError
from saga.telemetry.log_lines import Ours, Readable
from saga.telemetry.log_setup import get_logger
from saga.telemetry.redaction import KNOWN, WITHHELD, Words, allowed, tell
from saga.transitions import Signal
from tests.logs.conftest import Written

ID, TRACE = UUID("1c9f3a52-5d1f-4a0e-8a53-0f5b3c1f9d10"), 32 * "a"
MOVE: dict[str, object] = {
    "order_id": ID,
    "saga_id": pgproto.UUID(str(ID)),
    "step": Command.RESERVE_INVENTORY,
    "status": EntryStatus.RETRYING,
    "attempt": 2,
    "signal": Signal.RETRY_DUE,
    "outcome": Outcome.APPLIED,
    "trace_id": TRACE,
}
PORT_TAKEN = "EADDRINUSE: another process listens there, choose another port"
log = get_logger("saga.engine")
foreign = logging.getLogger("somebody.else")


def test_a_move_is_one_object_on_one_line(written: Written) -> None:
    log.info("moved", **MOVE)
    (line,) = written()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", line.pop("timestamp"))
    assert list(line.items()) == [
        ("level", "info"),
        ("logger", "saga.engine"),
        ("event", "moved"),
        ("order_id", str(ID)),
        ("saga_id", str(ID)),
        ("step", "ReserveInventory"),
        ("status", "Retrying"),
        ("attempt", 2),
        ("signal", "retry due"),
        ("outcome", "applied"),
        ("trace_id", TRACE),
    ]


def test_on_a_terminal_it_is_a_line_to_read() -> None:
    record = Ours("saga.engine", logging.INFO, "", 0, "moved", None, None)
    record.known = MOVE
    line = re.sub(r"\x1b\[\d*m", "", Readable().format(record))
    assert re.match(r"\S+Z \[info +\] moved \[saga.engine\] order_id=1c9f3a52-\S+ ", line)
    assert line.endswith(f" attempt=2 signal='retry due' outcome=applied trace_id={TRACE}")


def test_a_name_that_is_not_listed_is_left_out(written: Written) -> None:
    log.info("moved", user_id=ID, attempt=1, productName="Laptop")
    assert written()[0].keys() == {"timestamp", "level", "logger", "event", "attempt"}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize(
    "value", ["Smith", f"{ID} Smith", Decimal("1299.99"), b"Smith", ["Smith"], {"name": "Smith"}, object(), ValueError]
)
def test_a_value_that_is_not_of_its_name_is_withheld(name: str, value: object) -> None:
    assert allowed({name: value}) == {name: WITHHELD}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", "ReserveInventory"),
        ("route", Words("/api/orders")),
        ("routing_key", "domain.billing.PaymentProcessed"),
        ("routing_key", "domain.order.CancelOrder"),
        ("reason", "different_content"),
        ("reason", "unanswered"),
        ("method", "GET"),
        ("order_id", ID.hex),
        ("seconds", 0.25),
    ],
)
def test_a_value_of_its_name_is_told_as_it_is(name: str, value: object) -> None:
    assert allowed({name: value, "task": None}) == {name: value}


def _database_error() -> IntegrityError:
    driver = UniqueViolationError("Smith")
    driver.sqlstate = "23505"
    return IntegrityError("INSERT Smith", ["Smith"], driver)


def _caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("Smith"), "ValueError"),
        (KeyError("Smith"), "KeyError"),
        (OSError(98, "Smith"), f"OSError {PORT_TAKEN}"),
        (OSError(24, "Smith"), "OSError EMFILE"),
        (ConnectionRefusedError(111, "Smith"), "ConnectionRefusedError"),
        (_database_error(), "IntegrityError 23505"),
        (_caused(RuntimeError("Smith"), ValueError("Smith")), "RuntimeError (ValueError)"),
        (DifferentContentError("Smith"), "DifferentContentError"),
        (UnknownOrderError(ID), f"UnknownOrderError: there is no order {ID}"),
        (BusAwayError("there is no connection"), "BusAwayError: there is no connection"),
    ],
)
def test_an_error_is_told_without_anybodys_words(error: Exception, told: str) -> None:
    assert tell(error) == told
    assert allowed({"error": error}) == {"error": told}


def _fails() -> None:
    try:
        os.environ["SMITH"]
    except KeyError as error:
        raise BusAwayError("gone") from error


def test_an_exception_is_told_with_its_causes_and_where_it_went_through(written: Written) -> None:
    try:
        _fails()
    except BusAwayError as error:
        caught = error
        log.exception("failed")
        foreign.exception("failed")
    log.error("failed", exc_info=caught)
    assert len(written()) == 3
    for line in written():
        assert line["error"] == "BusAwayError: gone"
        outer, inner = line["exception"]
        assert (outer["error"], inner["error"]) == ("BusAwayError: gone", "KeyError")
        assert re.fullmatch(r"tests/logs/test_lines\.py:\d+ _fails", outer["frames"][-1])
        assert len(outer["frames"]) == 2


def test_a_group_and_a_circle_of_exceptions_come_to_an_end(written: Written) -> None:
    one, other = ValueError("Smith"), TypeError("Smith")
    one.__context__, other.__context__ = other, one
    log.error("failed", exc_info=ExceptionGroup("Smith", [one, other]))
    assert [told["error"] for told in written()[0]["exception"]] == ["ExceptionGroup", "ValueError", "TypeError"]


NAME: Any = "Smith"
TEMPLATE = "a text from elsewhere %s"


@pytest.mark.parametrize(
    ("say", "told"),
    [
        (lambda: foreign.info("connected"), "connected"),
        (lambda: foreign.info("process %d of %s: %r\n", 7, NAME, NAME), "process 7 of …: …"),
        (lambda: foreign.info("%(name)s has %(count)d", {"name": NAME, "count": 3}), "… has 3"),
        (lambda: foreign.info("half %d of it", NAME), "half %d of it"),
        (lambda: foreign.info(f"connected to {NAME}"), "connected to …"),
        (lambda: foreign.info(f"{NAME} is here"), WITHHELD),
        (lambda: foreign.info(NAME), WITHHELD),
        (lambda: foreign.info(TEMPLATE, NAME), WITHHELD),
        (lambda: foreign.info([NAME]), WITHHELD),
        (lambda: foreign.info("known", extra={"known": {"order_id": ID}, "order_id": ID}), "known"),
        (lambda: foreign.info("Task was destroyed but it is pending!" + f"\ntask: {NAME}"), None),
    ],
)
def test_a_foreign_text_is_told_as_far_as_it_stands_in_its_source(say: Any, told: str | None, written: Written) -> None:
    # pytest's own handlers cannot bear every one of them
    del logging.root.handlers[1:]
    say()
    (line,) = written()
    assert line["event"] == (told or "Task was destroyed but it is pending!…")
    assert line.keys() == {"timestamp", "level", "logger", "event"}


def _written_by(caller: logging.Logger) -> None:
    _passes_on(caller, "the caller's own words")


def _passes_on(caller: logging.Logger, text: str) -> None:
    caller.info(text)


def test_a_text_may_stand_in_the_source_of_the_caller(written: Written) -> None:
    _written_by(foreign)
    assert written()[0]["event"] == "the caller's own words"


def test_an_exception_in_place_of_a_text_is_told_as_one(written: Written) -> None:
    foreign.error(OSError(98, "Smith"))
    (line,) = written()
    assert (line["event"], line["error"]) == (WITHHELD, f"OSError {PORT_TAKEN}")


def test_what_is_bound_is_on_every_line_of_the_task(written: Written) -> None:
    with bound_contextvars(order_id=ID, name="Smith"):
        log.info("ours")
        log.info("of another order", order_id=(other := uuid4()))
        foreign.info("theirs")
    log.info("after it")
    assert [line.get("order_id") for line in written()] == [str(ID), str(other), str(ID), None]
    assert not any("name" in line for line in written())


def test_what_nobody_wants_to_hear_is_not_written(written: Written) -> None:
    logging.root.setLevel(logging.INFO)
    log.debug("nothing")
    logging.disable(logging.CRITICAL)
    log.critical("nothing")
    logging.disable(logging.NOTSET)
    assert written() == []
