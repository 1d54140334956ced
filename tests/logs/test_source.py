"""What the source itself must keep to, so that nothing leaks on a path that no test takes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from saga.telling import KNOWN
from tests.service import PROJECT

LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
TROUBLES = {"say", "over", "pause"}
PASSED_ON = {"saga/backoff.py"}
"""Writes what it is given, and is looked at where it is given."""
FILES = [
    path
    for path in (PROJECT / "app.py", *PROJECT.glob("saga/*.py"), *PROJECT.glob("handlers/**/*.py"))
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_event_is_a_literal_and_every_name_is_listed(path: Path) -> None:
    for call in _told(path):
        where = f"{path.name}:{call.lineno}"
        *level, event = call.args
        assert isinstance(event, ast.Constant), where
        assert [ast.unparse(one) for one in level] in ([], ["level"]), where
        assert {keyword.arg for keyword in call.keywords} <= {*KNOWN, "exc_info"}, where


def test_they_are_looked_at() -> None:
    assert sum(1 for path in FILES for _ in _told(path)) > 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_there_is_one_way_out(path: Path) -> None:
    if path.name != "logs.py":
        assert "logging.getLogger" not in path.read_text()
