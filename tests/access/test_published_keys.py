"""The keys that an issuer publishes: fetched beside the work, changed at any time, and away at times."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from handlers.access import jwks as published_keys
from handlers.access.jwks import MOST_BYTES, WAIT_SECONDS, PublishedKeys
from handlers.access.tokens import Tokens
from handlers.http.problems import ProblemError
from tests.access.conftest import asking, header
from tests.access.issuer import AUDIENCE, EC, ED, ISSUER, RSA, claims, jwk, token
from tests.http.conftest import listening, problem
from tests.waiting import until

PAUSE = 0.05
SOUND = json.dumps({"keys": [jwk(RSA, kid="rsa")]}).encode()


class Issuer:
    """Publishes keys, as long as it is well."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [jwk(RSA, kid="rsa")]
        self.well = True
        self.asked = 0
        self.answer: Response | None = None
        self.app = Starlette(routes=[Route("/keys", self._publish)])

    async def _publish(self, _: Request) -> Response:
        self.asked += 1
        if self.answer:
            return self.answer
        return Response(json.dumps({"keys": self.keys}), status_code=200 if self.well else 500)


@asynccontextmanager
async def fetched(url: str, pause: float = PAUSE) -> AsyncIterator[PublishedKeys]:
    """Its keys, fetched as long as the block lasts."""
    keys = PublishedKeys(url, pause=pause)
    running = asyncio.create_task(keys.run())
    try:
        yield keys
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture
async def issuer() -> AsyncIterator[tuple[Issuer, str]]:
    issuer = Issuer()
    async with listening(issuer.app) as url:
        yield issuer, f"{url}/keys"


async def _known(keys: PublishedKeys, kid: str | None) -> bool:
    try:
        return await keys.find(kid) is not None
    except ProblemError:
        return False


async def test_keys_are_there_without_anybody_asking(issuer: tuple[Issuer, str]) -> None:
    async with fetched(issuer[1]) as keys:
        await until(lambda: _known(keys, "rsa"))
        assert await _known(keys, None)
        assert not await _known(keys, "ec")


async def test_a_new_key_is_known_to_the_first_request_that_needs_it(issuer: tuple[Issuer, str]) -> None:
    async with fetched(issuer[1]) as keys:
        await until(lambda: _known(keys, "rsa"))
        await asyncio.sleep(2 * PAUSE)
        issuer[0].keys = [jwk(EC, kid="ec"), jwk(ED, kid="ed")]
        assert await _known(keys, "ec")
        assert not await _known(keys, "rsa")
        # which of two is meant has to be said
        assert not await _known(keys, None)


async def test_tokens_with_unknown_keys_do_not_make_the_service_ask_and_ask(issuer: tuple[Issuer, str]) -> None:
    async with fetched(issuer[1], pause=30) as keys:
        await until(lambda: _known(keys, "rsa"))
        # nor are they kept waiting
        async with asyncio.timeout(WAIT_SECONDS):
            for batch in range(5):
                found = await asyncio.gather(*(_known(keys, f"made up {batch} {n}") for n in range(200)))
                assert not any(found)
        assert issuer[0].asked == 1


async def test_while_the_issuer_is_away_its_keys_are_still_good_and_for_hours_only(
    issuer: tuple[Issuer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fetched(issuer[1]) as keys:
        await until(lambda: _known(keys, "rsa"))
        issuer[0].well, asked = False, issuer[0].asked

        async def asked_again() -> bool:
            await _known(keys, "unknown")
            return issuer[0].asked > asked + 1

        await until(asked_again)
        assert await _known(keys, "rsa")
        monkeypatch.setattr(published_keys, "KEPT_SECONDS", 0)
        with pytest.raises(ProblemError) as refusal:
            await keys.find("rsa")
        assert refusal.value.status_code == 503
        issuer[0].well = True
        monkeypatch.undo()
        await until(lambda: _known(keys, "rsa"))


@pytest.mark.parametrize(
    "answer",
    [
        Response(b"x" * (MOST_BYTES + 1)),
        Response(json.dumps({"keys": [jwk(RSA, kid="rsa")], "padding": "x" * MOST_BYTES})),
        Response(gzip.compress(b" " * 100 * MOST_BYTES), headers={"Content-Encoding": "gzip"}),
        Response(gzip.compress(SOUND), headers={"Content-Encoding": "gzip"}),
        Response(b"[" * 100_000),
        Response(b"<html>"),
        Response(b'{"keys": []}'),
        Response(status_code=404),
        RedirectResponse("/keys?again"),
    ],
    ids=["too large", "large, and right", "a bomb", "compressed", "deep", "HTML", "empty", "not found", "elsewhere"],
)
async def test_what_is_no_key_set_is_none_and_the_next_is(issuer: tuple[Issuer, str], answer: Response) -> None:
    issuer[0].answer = answer
    async with fetched(issuer[1]) as keys:

        async def asked() -> bool:
            return issuer[0].asked > 1

        await until(asked)
        assert not await _known(keys, "rsa")
        issuer[0].answer = None
        await until(lambda: _known(keys, "rsa"))


async def test_until_keys_were_fetched_once_a_token_is_neither_good_nor_bad(
    migrated: str, issuer: tuple[Issuer, str]
) -> None:
    issuer[0].well = False
    good = token("ann", "operate")
    async with fetched(issuer[1]) as keys, asking(migrated, tokens=Tokens(ISSUER, AUDIENCE, keys)) as service:
        answer = await service.client.get("/api/sagas", headers=header(good))
        assert problem(answer, 503)["type"] == "urn:order-service:access-unknown"
        assert answer.headers["retry-after"] == "2"
        issuer[0].well = True

        async def let_in() -> bool:
            return (await service.client.get("/api/sagas", headers=header(good))).status_code == 200

        await until(let_in)
        unknown = jwt.encode(claims("ann", "operate"), RSA, "RS256", {"kid": "unknown"})
        assert (await service.client.get("/api/sagas", headers=header(unknown))).status_code == 401
