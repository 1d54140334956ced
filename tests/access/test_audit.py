"""The audit log: what is told of who did, or tried, what; and that it names nobody."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from handlers.access import audit
from handlers.access.audit import Action, Result, network_of
from handlers.access.rate_limits import Limits
from tests.access.conftest import OWNER, VISITORS, asking, header
from tests.access.issuer import token
from tests.databases import Databases
from tests.http.conftest import Service

OPERATOR = VISITORS["operator"] or ""
OURS = {"Origin": "http://localhost"}
Told = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.asyncio(loop_scope="module")


class _Ear:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, event: str, **known: Any) -> None:
        assert event == "audit"
        self.lines.append(known)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(databases: Databases, template: str) -> AsyncIterator[Service]:
    with databases.lent(template) as url:
        async with asking(url) as service:
            yield service


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    ear = _Ear()
    monkeypatch.setattr(audit, "log", ear)
    return lambda: ear.lines


@pytest.mark.parametrize(
    ("visitor", "operation", "more", "expected"),
    [
        ("nobody", "POST /login", {"data": {"credential": OPERATOR}}, (Action.LOGIN, "accepted", "key:ops")),
        ("nobody", "POST /login", {"data": {"credential": "ok_ops_no"}}, (Action.LOGIN, "refused", "nobody")),
        ("nobody", "GET /api/sagas", {}, (Action.REQUEST, "refused", "nobody")),
        ("unknown key", "GET /api/sagas", {}, (Action.REQUEST, "refused", "nobody")),
        ("scraper", "GET /api/sagas", {}, (Action.REQUEST, "refused", "key:prometheus")),
        ("operator", "POST /api/sagas/retry", {"json": {}}, (Action.OPERATE, "accepted", "key:ops")),
        ("operator", "POST /api/sagas/retry", {"content": b"{"}, (Action.OPERATE, "failed", "key:ops")),
        ("operator", "GET /api/dead-letters", {}, (Action.READ_LETTERS, "accepted", "key:ops")),
        ("operator", "GET /dead-letters", {}, (Action.READ_LETTERS, "accepted", "key:ops")),
        ("subscriber", "POST /api/webhooks", {"json": {}}, (Action.SECRET, "failed", "key:crm")),
        ("subscriber", "GET /api/webhooks", {}, (Action.USED, "accepted", "key:crm")),
    ],
)  # fmt: skip
async def test_what_is_worth_asking_about_is_told(
    service: Service, told: Told, *, visitor: str, operation: str, more: Any, expected: tuple[str, str, str]
) -> None:
    method, path = operation.split()
    service.client.cookies.clear()
    await service.client.request(method, path, headers=OURS | header(VISITORS[visitor]), **more)
    service.client.cookies.clear()
    (line,) = told()
    assert (line["action"], line["outcome"], line["caller"]) == expected
    assert line["network"] == "127.0.0.0/24"


async def test_who_asks_too_often_is_told(migrated: str, told: Told) -> None:
    async with asking(migrated, limits=Limits(key_requests_per_second=0.001)) as service:
        for _ in range(3):
            await service.client.get("/api/sagas", headers=header(VISITORS["operator"]))
    assert [(line["action"], line["http_status"]) for line in told()][-1] == (Action.REQUEST, 429)


async def test_a_logout_is_told(service: Service, told: Told) -> None:
    await service.client.post("/login", data={"credential": VISITORS["operator"]}, headers=OURS)
    await service.client.post("/logout", headers=OURS, data={"": ""})
    service.client.cookies.clear()
    assert [line["action"] for line in told()] == [Action.LOGIN, Action.LOGOUT]
    assert {line["outcome"] for line in told()} == {Result.ACCEPTED}


async def test_a_person_is_told_apart_and_not_named(service: Service, told: Told) -> None:
    for sub in (OWNER, OWNER, "auth0|ann"):
        await service.client.get("/api/sagas", headers=header(token(sub, "")))
    first, again, other = (line["caller"] for line in told())
    assert first == again != other
    assert str(OWNER) not in first
    assert "ann" not in other
    assert first.startswith("user:")


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("::ffff:10.1.2.3", "10.1.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("", "?"),
    ],
)
async def test_where_from_is_told_by_the_network(host: str, network: str) -> None:
    assert network_of({"client": (host, 1)}) == network
