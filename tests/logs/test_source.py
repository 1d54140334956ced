"""What the source itself must keep to, so that nothing leaks on a path that no test takes."""

import ast
from collections.abc import Iterator
from pathlib import Path

from saga.telemetry.redaction import KNOWN
from tests.service import PROJECT

LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
TROUBLES = {"say", "over", "pause"}
PASSED_ON = {"saga/runtime/backoff.py"}
"""Writes what it is given, and is looked at where it is given."""
FILES = [
    path
    for path in (PROJECT / "app.py", *PROJECT.glob("saga/**/*.py"), *PROJECT.glob("handlers/**/*.py"))
    if path.relative_to(PROJECT).as_posix() not in PASSED_ON
]


def _told(path: Path) -> Iterator[ast.Call]:
    """Where a line is written."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("log"), attr=name)) if name in LEVELS:
                yield node
            case ast.Call(func=ast.Attribute(attr=name)) if name in TROUBLES:
                yield node


def _faults(path: Path, call: ast.Call) -> Iterator[str]:
    where = f"{path.relative_to(PROJECT)}:{call.lineno}"
    *level, event = call.args
    if not isinstance(event, ast.Constant):
        yield f"{where}: the event is no literal"
    if [ast.unparse(one) for one in level] not in ([], ["level"]):
        yield f"{where}: more than an event and its values"
    if unknown := {keyword.arg for keyword in call.keywords} - {*KNOWN, "exc_info"}:
        yield f"{where}: {unknown} is not listed"


def test_every_event_is_a_literal_and_every_name_is_listed() -> None:
    calls = [(path, call) for path in FILES for call in _told(path)]
    # as many as there are at least: what is not looked at proves nothing
    assert len(calls) > 50
    assert {path.parent.name for path, _ in calls} >= {"saga", "outbox", "webhooks", "bus", "http", "access"}
    assert [fault for path, call in calls for fault in _faults(path, call)] == []


def test_there_is_one_way_out() -> None:
    using = {path.relative_to(PROJECT).as_posix() for path in FILES if "logging.getLogger" in path.read_text()}
    assert using == {"saga/telemetry/log_setup.py"}
