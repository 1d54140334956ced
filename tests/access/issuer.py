"""An issuer of tokens: its keys, and whatever it, or somebody who is not it, may write into a token."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER, AUDIENCE = "https://issuer.example", "https://orders.example"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PRIVATE: dict[str, Any] = {"RS256": RSA, "ES256": EC, "EdDSA": ED}
"""By the algorithm that each is for."""


def pem(private: Any) -> str:
    """The public key of a private one, as a file has it."""
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return str(public, "ascii")


def jwk(private: Any, **more: Any) -> dict[str, Any]:
    """The public key of a private one, as an issuer publishes it."""
    algorithm = next(jwt.get_algorithm_by_name(name) for name, one in PRIVATE.items() if type(one) is type(private))
    published: dict[str, Any] = json.loads(algorithm.to_jwk(private.public_key()))
    published.pop("key_ops", None)
    return published | more


def claims(sub: object, scope: object = "", **changed: Any) -> dict[str, Any]:
    """What a sound token says, and what is changed about it; None leaves a claim out."""
    now = datetime.now(UTC)
    sound = {"iss": ISSUER, "aud": AUDIENCE, "sub": str(sub), "exp": now + timedelta(hours=1), "iat": now}
    return {name: value for name, value in (sound | {"scope": scope} | changed).items() if value is not None}


def token(sub: object, scope: object = "", **changed: Any) -> str:
    """A token of the issuer's, signed with its RSA key."""
    return jwt.encode(claims(sub, scope, **changed), RSA, "RS256", {"kid": "rsa"})


def raw(header: Any, payload: Any, signature: bytes = b"") -> str:
    """A token that no library would write."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, signature))
