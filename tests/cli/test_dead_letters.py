"""Dead letters from the command line: what it asks of the HTTP API, and how it shows the answers."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI, Request

from tests.cli.conftest import CommandLine
from tests.http.conftest import listening

LETTER: dict[str, Any] = {
    "id": str(uuid4()),
    "lastAt": "2026-01-15T09:30:00.000000Z",
    "count": 2,
    "reason": "invalid",
    "routingKey": "domain.order.CreateOrder",
    "orderId": None,
    "safety": {"detail": "its order is not known"},
}


@dataclass
class Asked:
    """An API that notes what it is asked."""

    shell: CommandLine
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    """The command line beside an API that only speaks of dead letters."""
    app = FastAPI()
    requests: list[tuple[str, str, dict[str, str]]] = []

    @app.api_route("/api/dead-letters{rest:path}", methods=["GET", "POST", "DELETE"])
    async def answer(request: Request, rest: str) -> Any:
        requests.append((request.method, rest, dict(request.query_params)))
        if request.method == "POST":
            return {"id": LETTER["id"], "outcome": "redriven", "detail": "published again"}
        return LETTER if rest else {"items": [LETTER], "next": "x" * 32}

    async with listening(app) as url:
        yield Asked(CommandLine(url), requests)


async def test_dead_letters_are_listed_with_what_is_known_of_each(asked: Asked) -> None:
    told = await asked.shell.run("dead-letters", "list", "--state", "open", "--routing-key", "a b&c")
    assert all(word in told for word in (LETTER["id"], "invalid", "its order is not known", "--after xxx"))
    assert asked.requests == [("GET", "", {"state": "open", "routingKey": "a b&c", "limit": "20"})]
    assert json.loads(await asked.shell.run("--json", "dead-letters", "list"))["items"] == [LETTER]


async def test_a_letter_is_redriven(asked: Asked) -> None:
    assert await asked.shell.run("dead-letters", "redrive", LETTER["id"]) == "redriven: published again\n"
    assert asked.requests == [("POST", f"/{LETTER['id']}/redrive", {})]


async def test_a_letter_is_discarded_with_a_reason(asked: Asked) -> None:
    assert await asked.shell.run("dead-letters", "discard", LETTER["id"], "--reason", "a test") == "discarded\n"
    assert asked.requests == [("DELETE", f"/{LETTER['id']}", {"reason": "a test"})]
    await asked.shell.run("dead-letters", "discard", LETTER["id"], code=2)
