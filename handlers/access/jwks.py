"""The signing keys that an issuer publishes (`JWT_JWKS_URL`): fetched beside the work, and kept while it is away."""

import asyncio
import ssl
from contextlib import suppress
from time import monotonic

import httpx2

from handlers.access.errors import not_yet
from handlers.access.signing import SigningKey, keys_of_set
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

FRESH_SECONDS = 300.0
"""After so long they are fetched again: as long a key that the issuer has withdrawn may still be believed."""
KEPT_SECONDS = 6 * 3600.0
"""As long they are believed while the issuer does not answer."""
PAUSE_SECONDS = 5.0
"""At the least between two fetches, however many tokens name a key that is not known."""
FETCH_SECONDS = 5.0
"""How long a fetch may take."""
WAIT_SECONDS = 2.0
"""How long the request waits for it whose token has a key that is not known."""
MOST_BYTES = 256 * 1024


class PublishedKeys:
    """The keys at an address. Nothing is fetched but by `run`; one per process.

    Args:
        url: `https://…`, or `http://` on this machine.
        pause: seconds between two fetches at the least.
    """

    def __init__(self, url: str, *, pause: float = PAUSE_SECONDS) -> None:
        self._url = url
        self._pause = pause
        self._keys: list[SigningKey] = []
        self._fetched_at = 0.0
        self._wanted = asyncio.Event()
        self._done = asyncio.Event()
        """Set at the end of every fetch, and then replaced by the next one's."""
        self._began_at = 0.0
        """When the last fetch began."""

    async def find(self, kid: str | None) -> SigningKey | None:
        """The key of this id; the only one, where a token names none. A key that is not known is looked for once more.

        Raises:
            ProblemError: 503, the issuer has not answered yet, or not for hours.
        """
        if self._known(kid) is None and self._may_be_new():
            self._wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._done.wait()
        if not self._believed:
            raise not_yet("The keys that tokens are signed with cannot be had from their issuer now. Try again.")
        return self._known(kid)

    async def run(self) -> None:
        """Fetch them now, again and again, and when a token has one that is not known."""
        client = httpx2.AsyncClient(
            timeout=FETCH_SECONDS, trust_env=False, follow_redirects=False, verify=ssl.create_default_context()
        )
        async with client:
            while True:
                self._wanted.clear()
                self._began_at = monotonic()
                await self._fetch(client)
                done, self._done = self._done, asyncio.Event()
                done.set()
                await asyncio.sleep(self._pause)
                try:
                    async with asyncio.timeout(FRESH_SECONDS if self._keys else self._pause):
                        await self._wanted.wait()
                except TimeoutError:
                    continue

    def _known(self, kid: str | None) -> SigningKey | None:
        if kid is None:
            return self._believed[0] if len(self._believed) == 1 else None
        return next((key for key in self._believed if key.kid == kid), None)

    @property
    def _believed(self) -> list[SigningKey]:
        return self._keys if monotonic() - self._fetched_at < KEPT_SECONDS else []

    def _may_be_new(self) -> bool:
        return monotonic() - self._began_at >= self._pause

    async def _fetch(self, client: httpx2.AsyncClient) -> None:
        try:
            self._keys = keys_of_set(await _document(client, self._url))
        except (httpx2.HTTPError, OSError, TimeoutError, ValueError, RecursionError) as error:
            log.warning("the keys that tokens are signed with cannot be fetched; those known are kept", error=error)
        else:
            self._fetched_at = monotonic()


async def _document(client: httpx2.AsyncClient, url: str) -> bytes:
    """What is published there, as it comes: a little that is compressed may be very much.

    Raises:
        ValueError: it is too large.
    """
    document, asked = bytearray(), client.stream("GET", url, headers={"Accept-Encoding": "identity"})
    async with asyncio.timeout(FETCH_SECONDS), asked as answer:
        answer.raise_for_status()
        async for chunk in answer.aiter_raw():
            document += chunk
            if len(document) > MOST_BYTES:
                raise ValueError("too large")
    return bytes(document)
