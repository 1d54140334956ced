"""A sender without any of the real one's caution: for receivers on the loopback address."""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta

import httpx2

from saga.webhooks.answers import Answer


class PlainSender:
    """Posts, and waits so many seconds for the answer."""

    def __init__(self, within: float = 15) -> None:
        self._client = httpx2.AsyncClient(verify=False, trust_env=False, timeout=None, limits=httpx2.Limits())
        self._within = within

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._within):
                response = await self._client.post(url, headers=dict(headers), content=body)
        except (httpx2.TransportError, TimeoutError) as error:
            return Answer(None, type(error).__name__, "", None, time.monotonic() - began)
        asked_for = response.headers.get("retry-after")
        wait = timedelta(seconds=int(asked_for)) if asked_for else None
        return Answer(response.status_code, None, response.text[:500], wait, time.monotonic() - began)

    async def close(self) -> None:
        await self._client.aclose()
