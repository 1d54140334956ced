"""The public keys that tokens are signed with: from a file, or published by the issuer at an address (RFC 7517).

A key is good for one algorithm only, which follows from its type: RSA for RS256, P-256 for ES256, Ed25519 for EdDSA.
What the header of a token says is compared with it, and never chooses.
"""

import json
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
_SMALLEST_RSA = 2048
_MOST_KEYS = 100


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key, and the one algorithm that it is good for."""

    kid: str | None
    algorithm: str
    key: PublicKey


class SigningKeys(Protocol):
    """Where the key of a token is looked for."""

    async def find(self, kid: str | None) -> SigningKey | None:
        """The key of this id, or the only one.

        Raises:
            ProblemError: 503, none has ever been seen.
        """


class OneKey:
    """The one key of a file: what a token calls it does not matter."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    async def find(self, kid: str | None) -> SigningKey | None:  # noqa: ARG002 - its form
        """The key."""
        return self._key


def key_of_pem(text: str) -> SigningKey:
    """The public key of a PEM file.

    Raises:
        ValueError: it is none that tokens may be signed with. Its text is not quoted.
    """
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("must be a public key in PEM: -----BEGIN PUBLIC KEY-----") from error
    return _signing_key(None, key)


def keys_of_set(document: bytes) -> list[SigningKey]:
    """The keys of a JWK Set that tokens may be signed with; others that it may have are passed over.

    Raises:
        ValueError: it is no JWK Set, or has no such key.
    """
    listed = json.loads(document)
    entries = listed.get("keys") if isinstance(listed, dict) else None
    if not isinstance(entries, list) or len(entries) > _MOST_KEYS:
        raise ValueError("this is no JWK Set")
    keys = [key for entry in entries if isinstance(entry, dict) and (key := _of_set(entry))]
    if not keys:
        raise ValueError("this JWK Set has no key for RS256, ES256 or EdDSA")
    return keys


def _of_set(entry: dict[str, Any]) -> SigningKey | None:
    kid, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str | None) or entry.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        # what it says of its algorithm is compared below: a key for another one is none of ours
        key = _signing_key(kid, jwt.PyJWK({name: entry[name] for name in entry.keys() - {"alg"}}).key)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return None
    return key if entry.get("alg", key.algorithm) == key.algorithm else None


def _signing_key(kid: str | None, key: object) -> SigningKey:
    match key:
        case RSAPublicKey() if key.key_size >= _SMALLEST_RSA:
            return SigningKey(kid, "RS256", key)
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return SigningKey(kid, "ES256", key)
        case Ed25519PublicKey():
            return SigningKey(kid, "EdDSA", key)
    raise ValueError("must be a public key: RSA of at least 2048 bits, P-256, or Ed25519")
