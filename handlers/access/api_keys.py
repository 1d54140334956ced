"""API keys, for services. `API_KEYS` has none of them, only what tells that one is right.

    API_KEYS = entry *( blank entry )        entry = id ":" sha256 ":" scope *( "+" scope ) [ ":" expiry ]
    key      = "ok_" id "_" secret           id = 1 to 64 of A-Z a-z 0-9 . _ -    secret = 1 to 256 of visible ASCII

An id may stand twice, with two secrets, while one takes the place of the other. Where one ends that has a `_`, only the
ids that are configured tell.
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from handlers.access.principal import Caller, Scope

PREFIX = "ok_"
_ID = r"[A-Za-z0-9._-]{1,64}"
_KEY = re.compile(rf"ok_{_ID}_[\x21-\x7e]{{1,256}}")
_ENTRY = re.compile(rf"({_ID}):([0-9a-fA-F]{{64}}):([a-z:+]+?)(?::(\d.*))?")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")
"""RFC 3339."""
_SAFE_CHARACTERS = 22
"""Of base64: what is random and no shorter has 128 bits, and nobody guesses it."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of an API key."""

    id: str
    digest: bytes
    """SHA-256 of its secret, which is random: no slower hash is needed."""
    scopes: frozenset[Scope]
    expires_at: datetime | None = None

    @property
    def caller(self) -> Caller:
        """Whom it stands for."""
        return Caller(f"key:{self.id}", self.scopes)

    def valid(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now < self.expires_at


def parse_keys(text: str) -> tuple[Key, ...]:
    """The keys that `API_KEYS` names.

    Raises:
        ValueError: which entry is wrong, and how. It quotes none.
    """
    keys = tuple(_entry(number, entry) for number, entry in enumerate(text.split(), start=1))
    if not keys:
        raise ValueError("names no key; leave it out where there is none")
    return keys


def make_key(id_: str, scopes: Iterable[Scope], expires_at: datetime | None = None) -> tuple[str, str]:
    """A new key, which nobody can tell again, and its entry for `API_KEYS`.

    Raises:
        ValueError: the id cannot be one.
    """
    if not re.fullmatch(_ID, id_):
        raise ValueError("an id has 1 to 64 characters of A-Z, a-z, 0-9, `.`, `_` and `-`")
    secret = secrets.token_urlsafe(32)
    parts = [id_, sha256(secret.encode()).hexdigest(), "+".join(scopes)]
    if expires_at:
        parts.append(expires_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"))
    return f"{PREFIX}{id_}_{secret}", ":".join(parts)


def find_key(keys: Iterable[Key], presented: str) -> Key | None:
    """The key that is presented, expired or not.

    Every key is compared with it, to the last byte: how long that takes tells neither how much of a secret was right
    nor whether there is such an id.
    """
    shown, found = presented.encode() if _KEY.fullmatch(presented) else b"", None
    for key in keys:
        beginning = f"{PREFIX}{key.id}_".encode()
        same = hmac.compare_digest(key.digest, sha256(shown[len(beginning) :]).digest())
        if same & hmac.compare_digest(beginning, shown[: len(beginning)]):
            found = key
    return found


def guessable(key: Key, presented: str) -> bool:
    """Whether the secret of a key that was found is short enough to have been thought up by a person."""
    return len(presented) - len(f"{PREFIX}{key.id}_") < _SAFE_CHARACTERS


def _entry(number: int, entry: str) -> Key:
    parts = _ENTRY.fullmatch(entry)
    if not parts:
        raise ValueError(f"entry {number} is not id:sha256-of-the-secret:scope+scope, or with :expiry behind it")
    id_, digest, scopes, expiry = parts.groups()
    if not set(scopes.split("+")) <= set(Scope):
        raise ValueError(f"entry {number} has a scope that does not exist; there are {', '.join(Scope)}")
    expires_at = None
    if expiry:
        try:
            expires_at = instant(expiry)
        except ValueError as error:
            raise ValueError(f"entry {number} has an expiry that is {error}") from error
    return Key(id_, bytes.fromhex(digest), frozenset(map(Scope, scopes.split("+"))), expires_at)


def instant(text: str) -> datetime:
    """A moment, as RFC 3339 has it.

    Raises:
        ValueError: it is none.
    """
    wrong = "not a moment such as 2027-01-31T00:00:00Z"
    if not _INSTANT.fullmatch(text):
        raise ValueError(wrong)
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(wrong) from error
