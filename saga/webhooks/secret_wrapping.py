"""Webhooks' secrets as they are stored: encrypted with a key that the database does not have.

A stored secret is `aes256gcm:<id of the key>:<base64 of nonce and ciphertext>`, bound to its endpoint: in another
endpoint's row it opens nothing. Rows that were written without a key have the secret as it is, `whsec_…`: they still
work, and are wrapped once there is a key.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from secrets import token_bytes
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from saga.errors import OrderServiceError

PLAIN = "whsec_"
"""How a secret begins that is stored as it is."""
_WRAPPED = "aes256gcm"
_KEY_BYTES, _NONCE_BYTES, _ID_CHARACTERS = 32, 12, 12


class UnwrapError(OrderServiceError):
    """A webhook's secret cannot be opened: it is wrapped with a key that is not given, or belongs to another row."""

    reason = "unwrap"
    quotes = False


def read_keys(text: str) -> tuple[bytes, ...]:
    """Read `WEBHOOK_SECRET_KEY`: keys of 32 bytes in base64, blank-separated.

    Raises:
        ValueError: one of them is not that; nothing is quoted.
    """
    wrong = ValueError("must be 32 random bytes in base64, as `openssl rand -base64 32` prints them; blank-separated")
    try:
        keys = tuple(b64decode(one, validate=True) for one in text.split())
    except ValueError:
        raise wrong from None
    if not keys or any(len(key) != _KEY_BYTES for key in keys):
        raise wrong
    return keys


class Wrapping:
    """Wraps secrets, and opens them.

    Args:
        keys: the first wraps, all open. Without any, secrets are stored as they are.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._ciphers = {sha256(key).hexdigest()[:_ID_CHARACTERS]: AESGCM(key) for key in keys}
        self._first = next(iter(self._ciphers), None)

    @property
    def key_ids(self) -> list[str]:
        """The names of the keys, as they stand in what is wrapped with them; the first is the one that wraps."""
        return list(self._ciphers)

    @property
    def begins(self) -> str | None:
        """How everything begins that is wrapped with the first key; None: there is none."""
        return self._first and f"{_WRAPPED}:{self._first}:"

    def wrap(self, webhook_id: UUID, secret: str) -> str:
        """The secret, as it is to be stored."""
        if self._first is None:
            return secret
        nonce = token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(nonce, secret.encode(), webhook_id.bytes)
        return f"{self.begins}{b64encode(nonce + sealed).decode()}"

    def unwrap(self, webhook_id: UUID, stored: str) -> str:
        """The secret that was stored for this endpoint.

        Raises:
            UnwrapError: it cannot be opened.
        """
        if stored.startswith(PLAIN):
            return stored
        try:
            _, key_id, text = stored.split(":")
            sealed = b64decode(text, validate=True)
            opened = self._ciphers[key_id].decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], webhook_id.bytes)
        except (ValueError, KeyError, InvalidTag) as error:
            raise UnwrapError(f"the secret of webhook {webhook_id} cannot be opened") from error
        return opened.decode()
