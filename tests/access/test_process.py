"""The service as its users run it, with keys from a file and an issuer that comes late; and what its log says of it."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from handlers.access.api_keys import make_key
from handlers.access.principal import Scope
from local.host import free_port
from tests.access.conftest import header
from tests.access.issuer import AUDIENCE, ISSUER, token
from tests.access.test_published_keys import Issuer
from tests.http.conftest import listening, order_body
from tests.service import Service, complaints, told
from tests.waiting import until

OPERATES, ORDERS = make_key("ops", [Scope.OPERATE]), make_key("shop", [Scope.ORDERS_WRITE])
ANN = uuid4()
PERSON = token(ANN, "orders:read orders:write operate")


@pytest.fixture
async def issuer() -> AsyncIterator[tuple[Issuer, str]]:
    issuer = Issuer()
    async with listening(issuer.app) as url:
        yield issuer, f"{url}/keys"


async def test_keys_and_tokens_open_it_and_none_of_them_is_told_to_the_log(
    migrated: str, vhost: str, tmp_path: Path, issuer: tuple[Issuer, str]
) -> None:
    issuer[0].well = False
    (tmp_path / "entries").write_text(f"{OPERATES[1]}\n{ORDERS[1]}\n")
    environment = {
        "DATABASE_URL": migrated,
        "RABBITMQ_URL": vhost,
        "API_KEYS_FILE": str(tmp_path / "entries"),
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "JWT_JWKS_URL": issuer[1],
    }
    service = Service(tmp_path, environment)
    try:
        await service.ready()
        async with httpx2.AsyncClient(base_url=service.url) as client:
            order = order_body(userId=str(ANN))
            assert (await client.post("/api/orders", json=order)).status_code == 401
            placed = await client.post("/api/orders", json=order, headers=header(ORDERS[0]))
            assert placed.status_code == 201
            path = f"/api/orders/{placed.json()['id']}"
            assert (await client.get(path, headers=header(PERSON))).status_code == 503
            issuer[0].well = True

            async def believed() -> bool:
                return (await client.get(path, headers=header(PERSON))).status_code == 200

            await until(believed)
            form = {"credential": PERSON, "to": "/sagas"}
            ours = {"Origin": service.url}
            assert (await client.post("/login", data=form, headers=ours)).status_code == 303
            cookie = next(iter(client.cookies.values()))
            assert (await client.get("/sagas")).status_code == 200
            assert (await client.post(f"/api/sagas/{uuid4()}/retry", headers=ours)).status_code == 404
            assert (await client.get("/api/sagas", headers=header("ok_ops_mistyped"))).status_code == 401
    finally:
        service.stop()
    log = service.log.read_text()
    for secret in (OPERATES[0], ORDERS[0], PERSON, cookie, str(ANN), "mistyped", str(issuer[1])):
        assert secret.removeprefix("ok_ops_").removeprefix("ok_shop_") not in log
    away = "the keys that tokens are signed with cannot be fetched; those known are kept"
    assert away in [one["event"] for one in told(service.log) if one["level"] == "warning"]
    refused = [one for one in told(service.log) if (one["event"], one.get("http_status")) == ("request", 401)]
    assert [one["route"] for one in refused] == ["/api/orders", "/api/sagas"]
    assert complaints(service.log) == []


async def test_where_nothing_is_configured_the_log_says_so(migrated: str, tmp_path: Path) -> None:
    nowhere = f"amqp://user:password@127.0.0.1:{free_port()}/"
    service = Service(tmp_path, {"DATABASE_URL": migrated, "RABBITMQ_URL": nowhere})

    async def says_so() -> bool:
        if not service.log.exists():
            return False
        events = [one["event"] for one in told(service.log) if one["level"] == "warning"]
        return "no access is configured: only clients on this machine are answered, and may do all" in events

    try:
        await until(says_so)
    finally:
        service.stop()


async def test_the_file_of_keys_is_read_again_when_the_process_is_told(
    migrated: str, vhost: str, tmp_path: Path
) -> None:
    entries = tmp_path / "entries"
    entries.write_text(f"{OPERATES[1]}\n")
    environment = {"DATABASE_URL": migrated, "RABBITMQ_URL": vhost, "API_KEYS_FILE": str(entries)}
    service = Service(tmp_path, environment)

    async def said(event: str) -> bool:
        return event in [one["event"] for one in told(service.log)]

    async def status(presented: str) -> int:
        return (await client.get("/api/sagas", headers=header(presented))).status_code

    other, entry = make_key("ann", [Scope.OPERATE])
    try:
        await service.ready()
        async with httpx2.AsyncClient(base_url=service.url) as client:
            assert [await status(OPERATES[0]), await status(other)] == [200, 401]
            entries.write_text("nonsense\n")
            os.kill(service.child.pid, signal.SIGHUP)
            await until(lambda: said("the API keys were not read again; those before are kept"))
            assert [await status(OPERATES[0]), await status(other)] == [200, 401]
            entries.write_text(f"{entry}\n")
            os.kill(service.child.pid, signal.SIGHUP)
            await until(lambda: said("the API keys were read again"))
            assert [await status(OPERATES[0]), await status(other)] == [401, 200]
    finally:
        service.stop()
