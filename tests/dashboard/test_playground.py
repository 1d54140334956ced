"""The playground places orders for made-up customers: it is there in a local system, and nowhere else."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from saga.domain import Policy
from saga.engine import Engine
from saga.runtime.database import connect, sessions
from tests.http.conftest import STAND_INS, Service, serving


@asynccontextmanager
async def with_stand_ins(dsn: str, stand_ins: Mapping[str, str]) -> AsyncIterator[Service]:
    database = connect(dsn, connections=2, name="tests")
    pool = sessions(database)
    async with serving(Engine(pool, Policy(), lambda _: None), pool, Policy(), stand_ins=stand_ins) as service:
        yield service
    await database.dispose()


async def test_without_stand_ins_there_is_no_playground_and_no_page_leads_to_one(migrated: str) -> None:
    async with with_stand_ins(migrated, {}) as service:
        for path in ("/", "/sagas", "/sagas/none", "/webhooks"):
            html = (await service.client.get(path)).text
            assert "<nav" in html, path
            assert "Try it" not in html, path
        form = {"Origin": "http://localhost", "Content-Type": "application/x-www-form-urlencoded"}
        assert (await service.client.get("/try")).status_code == 404
        assert (await service.client.post("/try", content=b"do=happy", headers=form)).status_code == 404
        assert (await service.client.get("/api/sagas")).json()["items"] == []


async def test_with_stand_ins_every_page_leads_to_the_playground(migrated: str) -> None:
    async with with_stand_ins(migrated, STAND_INS) as service:
        for path in ("/", "/sagas", "/webhooks", "/try"):
            html = (await service.client.get(path)).text
            assert '<a href="./try"' in html, path
