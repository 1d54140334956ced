"""Telling the stand-in participants of a local system how to behave: their control endpoints, on this machine."""

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from handlers.http.problems import ProblemError

MODES: Mapping[str, str] = {
    "normal": "answers",
    "fail": "refuses",
    "fail-retryable": "refuses for now",
    "slow": "answers 3 s late",
    "mute": "does nothing, says nothing",
    "mute-after": "does it, says nothing",
}
"""How a stand-in can treat a command, in words."""
_LOCAL = re.compile(r"[a-z]+=http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}")
_SLOW_SECONDS = 3.0
_PATIENCE_SECONDS = 2.0
_ERRORS = (httpx2.HTTPError, ValueError, TypeError, KeyError, AttributeError)


def local_addresses(text: str) -> dict[str, str]:
    """The addresses of stand-ins that somebody names, by their names.

    Raises:
        ValueError: they are none, or none of this machine.
    """
    named = text.split()
    if not all(_LOCAL.fullmatch(one) for one in named):
        raise ValueError("must be name=http://127.0.0.1:port for each, blank-separated, on this machine's own address")
    return dict(one.split("=", 1) for one in named)


@dataclass(frozen=True, slots=True)
class StandIn:
    """One of them, as it is at this moment."""

    name: str
    address: str
    modes: Mapping[str, str] = field(default_factory=dict)
    """How it treats each of its commands; empty where it does not say."""


class StandIns:
    """All of them.

    Args:
        addresses: by name, of this machine, as `http://127.0.0.1:5003`; none in a system that is not local.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses

    def __bool__(self) -> bool:
        return bool(self._addresses)

    async def all(self) -> list[StandIn]:
        """Each of them with what it does."""
        async with _client() as client:
            return await asyncio.gather(*(_look(client, *one) for one in self._addresses.items()))

    async def tell(self, wishes: Mapping[str, Mapping[str, str]]) -> None:
        """Tell some of them how to treat some of their commands.

        Args:
            wishes: modes by command, by name of the stand-in.

        Raises:
            ProblemError: there is no such stand-in, or it does not do as it is told.
        """
        async with _client() as client:
            for name, modes in wishes.items():
                if name not in self._addresses:
                    raise ProblemError(422, "invalid", f"There is no stand-in of the name {name}.")
                await _tell(client, name, self._addresses[name], modes)


def _client() -> httpx2.AsyncClient:
    # without encryption, so no certificates need be read; and through no proxy
    return httpx2.AsyncClient(
        timeout=_PATIENCE_SECONDS, trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )


async def _look(client: httpx2.AsyncClient, name: str, address: str) -> StandIn:
    try:
        answer = await client.get(f"{address}/behaviour")
        told: dict[str, Any] = answer.raise_for_status().json()
        return StandIn(name, address, {command: str(behaviour["mode"]) for command, behaviour in told.items()})
    except _ERRORS:
        return StandIn(name, address)


async def _tell(client: httpx2.AsyncClient, name: str, address: str, modes: Mapping[str, str]) -> None:
    wish = {
        command: {"mode": mode} | ({"seconds": _SLOW_SECONDS} if mode == "slow" else {})
        for command, mode in modes.items()
    }
    try:
        answer = await client.put(f"{address}/behaviour", json=wish)
    except httpx2.HTTPError as error:
        raise ProblemError(409, "refused", f"{name} does not answer at {address}. Does it run?") from error
    if answer.is_error:
        raise ProblemError(422, "invalid", f"{name} does not take that: {answer.text[:200]}")
