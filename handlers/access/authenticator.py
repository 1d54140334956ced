"""What somebody shows: a key, a token, or the cookie of a browser that is logged in; and whom that makes them."""

import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from starlette.requests import HTTPConnection

from handlers.access import login_sessions as logins
from handlers.access.api_keys import PREFIX, Key, find_key, guessable
from handlers.access.cookies import cookie_of
from handlers.access.errors import forbidden, unauthorized
from handlers.access.login_sessions import Identity, Login
from handlers.access.origin import local_caller
from handlers.access.principal import Caller, Scope
from handlers.access.server_key import ServerKey
from handlers.access.site import Site
from handlers.access.tokens import Tokens
from saga.runtime.database import Sessions
from saga.telemetry.log_setup import get_logger
from saga.telemetry.redaction import Words

log = get_logger(__name__)

LOGIN_SECONDS = 12 * 3600
"""The longest that a browser stays logged in."""
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}\.[0-9a-f]{64}")
"""A random value, and a keyed digest of it: what is made up is no matter for the database."""
_HOW = "Send `Authorization: Bearer` with an API key or a token."
SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods of requests that change nothing."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential that is good now."""

    caller: Caller
    name: str
    """Tells it from others, and nothing of what is secret of it."""
    expires_at: datetime | None


class Access:
    """Knows who somebody is. One per process.

    Args:
        sessions: where the logins of browsers are, each statement a transaction of its own.
        keys: of services.
        tokens: reads those of people; None: there are none.
        local: whether nobody has anything to show, and whoever is on this machine may do all.
        site: where browsers reach the service.
    """

    def __init__(
        self,
        sessions: Sessions,
        keys: Sequence[Key] = (),
        tokens: Tokens | None = None,
        *,
        local: bool = False,
        site: Site | None = None,
    ) -> None:
        self.local = local
        self.site = site or Site()
        self.server_key = ServerKey(sessions)
        self._keys = keys
        self._warned_of: set[Key] = set()
        self._tokens = tokens
        self._sessions = sessions

    def replace_keys(self, keys: Sequence[Key]) -> None:
        """From now on there are these keys; what others opened ends."""
        self._keys = keys

    async def caller(self, connection: HTTPConnection, *, asked_anew: bool = True) -> Caller:
        """Who asks.

        Args:
            connection: with what they show.
            asked_anew: whether this is a new request, and not one that goes on.

        Raises:
            ProblemError: 401, nobody; 403, a page from elsewhere, with what its reader's browser has; 503, that cannot
                be told at the moment.
        """
        if self.local:
            return local_caller(connection)
        shown = connection.headers.getlist("authorization")
        if shown:
            credential = await self.credential(_bearer(shown))
            return replace(credential.caller, expires_at=credential.expires_at)
        if cookie := cookie_of(connection, self.site):
            return await self._logged_in(connection, cookie, asked_anew=asked_anew)
        raise unauthorized(_HOW)

    async def credential(self, presented: str) -> Credential:
        """What somebody presents as a key or a token.

        Raises:
            ProblemError: 401, it is neither; 503, that cannot be told at the moment.
        """
        if presented.startswith(PREFIX) or not self._tokens:
            key = find_key(self._keys, presented)
            if key is None:
                raise unauthorized("There is no such API key.", invalid=True)
            if not key.valid(datetime.now(UTC)):
                raise unauthorized("This API key has expired.", invalid=True)
            self._warn_of(key, presented)
            return Credential(key.caller, _name_of(key), key.expires_at)
        told = await self._tokens.read(presented)
        return Credential(told.caller, _name_of(self._tokens), told.expires_at)

    def _warn_of(self, key: Key, presented: str) -> None:
        if guessable(key, presented) and key not in self._warned_of:
            self._warned_of.add(key)
            log.warning(
                "an API key can be guessed; make another with python -m handlers.cli key", caller=Words(key.caller.name)
            )

    async def log_in(self, presented: str, before: str | None = None) -> tuple[Caller, str]:
        """Log a browser in; returns who that is, and what it is to show from now on.

        Args:
            presented: a key or a token.
            before: what it has shown so far: with that nobody is logged in any more.

        Raises:
            ProblemError: 401, what is presented is no credential, or is none any more; 403, it is not an operator's.
        """
        credential = await self.credential(presented)
        caller = credential.caller
        if not caller.may(Scope.OPERATE):
            raise forbidden("The dashboard needs the scope `operate`, which this credential does not have.")
        random = secrets.token_urlsafe(32)
        value = f"{random}.{await self.server_key.digest('cookie', random)}"
        who = Identity(caller.name, caller.user_id, sorted(caller.scopes), credential.name)
        most = timedelta(seconds=LOGIN_SECONDS)
        async with self._sessions() as session:
            kept = await logins.keep_login(session, value, who, most, credential.expires_at)
        if not kept:
            raise unauthorized("This credential has expired.", invalid=True)
        if before:
            await self.log_out(before)
        return caller, value

    async def log_out(self, value: str) -> None:
        """Let nobody in any more who shows this."""
        async with self._sessions() as session:
            await logins.forget_login(session, value)

    async def _logged_in(self, connection: HTTPConnection, cookie: str, *, asked_anew: bool) -> Caller:
        self.site.require_name(connection.headers)
        websocket = connection.scope["type"] == "websocket"
        if (websocket or connection.scope["method"] not in SAFE) and not self.site.sent(connection.headers):
            raise forbidden("This does not come from a page of this service: what your browser keeps is for those.")
        login = await self._find(connection, cookie, asked_anew=asked_anew) if await self._is_ours(cookie) else None
        caller = self._still_good(login) if login else None
        if caller is None:
            raise unauthorized("You are not logged in any more.", invalid=True)
        return caller

    async def _is_ours(self, cookie: str) -> bool:
        """Whether it was made here; whether it is good for anything the database tells."""
        if not _COOKIE.fullmatch(cookie):
            return False
        random, _, digest = cookie.partition(".")
        return hmac.compare_digest(digest, await self.server_key.digest("cookie", random))

    async def _find(self, connection: HTTPConnection, cookie: str, *, asked_anew: bool) -> Login | None:
        # a page that keeps itself fresh does not show that somebody looks at it
        by_a_person = asked_anew and connection.headers.get("sec-fetch-dest", "document") == "document"
        async with self._sessions() as session:
            login = await logins.find_login(session, cookie)
            if login and by_a_person and login.unused:
                await logins.note_use(session, cookie)
        return login

    def _still_good(self, login: Login) -> Caller | None:
        """Whom a login makes them, as long as what they logged in with is good; what it lost since is lost to them."""
        scopes = frozenset(scope for scope in Scope if scope in login.scopes)
        if self._tokens and login.credential == _name_of(self._tokens):
            return Caller(login.name, scopes, login.user_id, expires_at=login.expires_at)
        for key in self._keys:
            if login.credential == _name_of(key) and key.valid(datetime.now(UTC)):
                return replace(key.caller, scopes=key.scopes & scopes, expires_at=login.expires_at)
        return None


def _name_of(source: Key | Tokens) -> str:
    return f"key:{source.digest.hex()}" if isinstance(source, Key) else f"token:{source.issuer}"


def _bearer(headers: list[str]) -> str:
    scheme, _, presented = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not presented.strip():
        raise unauthorized(_HOW, invalid=True)
    return presented.strip()
