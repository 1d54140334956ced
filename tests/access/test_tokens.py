"""Tokens: those of the issuer are read, and nothing else that somebody makes up."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from handlers.access.principal import Caller, Scope
from handlers.access.signing import OneKey, SigningKey, key_of_pem, keys_of_set
from handlers.access.tokens import Tokens
from handlers.http.problems import ProblemError
from tests.access.issuer import AUDIENCE, EC, ED, ISSUER, PRIVATE, RSA, claims, jwk, pem, raw, token

ANN = "8f14e45f-ceea-4672-9b5a-3c1d6b0a7e21"
READ = "orders:read"
FOREIGN = rsa.generate_private_key(65537, 2048)


class _Published:
    """The keys of an issuer that has three."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        entries = [jwk(private, kid=algorithm) for algorithm, private in PRIVATE.items()]
        self._keys = {key.kid: key for key in keys_of_set(json.dumps({"keys": entries}).encode())}

    async def find(self, kid: str | None) -> SigningKey | None:
        self.asked.append(kid)
        return self._keys.get(kid)


def _tokens() -> Tokens:
    return Tokens(ISSUER, AUDIENCE, _Published())


async def _read(presented: str, tokens: Tokens | None = None) -> Caller:
    return (await (tokens or _tokens()).read(presented)).caller


async def _refused(presented: str, tokens: Tokens | None = None) -> str:
    with pytest.raises(ProblemError) as refusal:
        await _read(presented, tokens)
    assert refusal.value.status_code == 401
    assert dict(refusal.value.headers or {})["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    return str(refusal.value.detail)


def _sign(algorithm: str, header: dict[str, Any] | None = None, **changed: Any) -> str:
    payload = claims(**{"sub": ANN, "scope": READ} | changed)
    return jwt.encode(payload, PRIVATE[algorithm], algorithm, {"kid": algorithm} | (header or {}))


# ------------------------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_a_token_is_read_with_each_kind_of_key(algorithm: str) -> None:
    caller = await _read(_sign(algorithm))
    assert caller == Caller(f"user:{ANN}", frozenset({Scope.ORDERS_READ}), UUID(ANN))


@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_a_key_from_a_file_is_enough_whatever_the_token_calls_it(algorithm: str) -> None:
    tokens = Tokens(ISSUER, AUDIENCE, OneKey(key_of_pem(pem(PRIVATE[algorithm]))))
    assert (await _read(_sign(algorithm, {"kid": "whatever"}), tokens)).user_id == UUID(ANN)


async def test_one_of_several_audiences_may_be_ours() -> None:
    assert await _read(_sign("RS256", aud=["https://other.example", AUDIENCE]))


async def test_clocks_may_differ_by_a_minute() -> None:
    now = datetime.now(UTC)
    for claim, inside, outside in (("exp", -50, -70), ("nbf", 50, 70), ("iat", 50, 70)):
        within, beyond = ({claim: now + timedelta(seconds=seconds)} for seconds in (inside, outside))
        assert await _read(_sign("RS256", None, **within))
        await _refused(_sign("RS256", None, **beyond))


async def test_scopes_that_are_not_ours_are_none() -> None:
    caller = await _read(_sign("RS256", scope="openid orders:read  orders:read:any\toperate admin"))
    assert caller.scopes == {Scope.ORDERS_READ, Scope.ORDERS_READ_ANY, Scope.OPERATE}


async def test_who_writes_an_id_differently_is_the_same_person() -> None:
    assert (await _read(token(ANN.upper(), READ), _one())).owner == f"user:{ANN}"


@pytest.mark.parametrize(
    "subject", ["auth0|ann", "ann@shop.example", f"{{{ANN}}}", f"urn:uuid:{ANN}", ANN.replace("-", "")]
)
async def test_who_is_no_customer_is_no_service_either(subject: str) -> None:
    """A service may order for anybody, and be told of it: who has no orders of their own must not pass for one."""
    caller = await _read(token(subject, " ".join(Scope)), _one())
    assert caller.user_id is None
    assert caller.scopes == set(Scope) - {Scope.ORDERS_READ, Scope.ORDERS_WRITE, Scope.WEBHOOKS}
    assert caller.name == f"user:{subject}"


def _one() -> Tokens:
    return Tokens(ISSUER, AUDIENCE, OneKey(key_of_pem(pem(RSA))))


# ----------------------------------------------------------------------------------------------------------- unsound


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"iss": f"{ISSUER}/"},
        {"aud": "https://elsewhere.example"},
        {"aud": None},
        {"aud": []},
        {"aud": {"aud": AUDIENCE}},
        {"aud": AUDIENCE.upper()},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": -1},
        {"exp": 0},
        {"exp": 10**30},
        {"exp": [4102444800]},
        {"exp": {}},
        {"nbf": "tomorrow"},
        {"iat": "tomorrow"},
        {"nbf": 10**30},
        {"sub": None},
        {"sub": 7},
        {"sub": [ANN]},
        {"sub": ""},
        {"sub": "a\x00b"},
        {"sub": "a\nb"},
        {"sub": "\ud800"},
        {"sub": "x" * 256},
        {"scope": ["orders:read"]},
        {"scope": {"orders:read": True}},
        {"scope": 7},
        {"jti": 7},
    ],
    ids=str,
)
async def test_a_claim_that_is_not_right_makes_the_token_none(changed: dict[str, Any]) -> None:
    header = {"alg": "RS256", "kid": "RS256"}
    payload = {"exp": 4102444800} | {
        name: value.timestamp() if isinstance(value, datetime) else value
        for name, value in (claims(ANN, READ) | changed).items()
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    await _refused(_signed_rs256(header, payload))


@pytest.mark.parametrize("payload", [[], "text", 7, None, b"", b"{", b"\xff", b'{"exp": NaN}', b"[" * 4000], ids=str)
async def test_a_payload_that_is_no_object_makes_the_token_none(payload: Any) -> None:
    await _refused(_signed_rs256({"alg": "RS256", "kid": "RS256"}, payload))


async def test_times_without_end_make_the_token_none() -> None:
    for never in ("Infinity", "-Infinity", "NaN", "1e999"):
        text = json.dumps(claims(ANN, READ) | {"exp": 0, "iat": 0}).replace('"exp": 0', f'"exp": {never}')
        await _refused(_signed_rs256({"alg": "RS256", "kid": "RS256"}, text.encode()))


async def test_what_these_tests_sign_is_sound_otherwise() -> None:
    assert await _read(_signed_rs256({"alg": "RS256", "kid": "RS256"}, _plain()))


def _signed_rs256(header: Any, payload: Any) -> str:
    """A token that the issuer did sign, whatever it says."""
    unsigned = raw(header, payload).rpartition(".")[0]
    signature = jwt.get_algorithm_by_name("RS256").sign(unsigned.encode(), RSA)
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


async def test_an_expired_token_says_so() -> None:
    assert "expired" in await _refused(_sign("RS256", exp=datetime.now(UTC) - timedelta(hours=1)))


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
async def test_a_token_without_a_signature_is_none(name: str) -> None:
    for kid in ({}, {"kid": "RS256"}):
        await _refused(raw({"alg": name, "typ": "JWT", **kid}, _plain()))
        await _refused(_signed_rs256({"alg": name, **kid}, _plain()))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("private", PRIVATE.values(), ids=PRIVATE)
async def test_a_public_key_is_no_secret_to_sign_with(algorithm: str, private: Any) -> None:
    """Who knows the public key must not be able to sign with it: not in any of the forms in which it is published."""
    kid = next(name for name, one in PRIVATE.items() if one is private)
    for secret in (pem(private), pem(private).strip(), json.dumps(jwk(private))):
        unsigned = raw({"alg": algorithm, "kid": kid}, _plain()).rpartition(".")[0]
        digest = hmac.new(secret.encode(), unsigned.encode(), algorithm.replace("HS", "sha")).digest()
        forged = f"{unsigned}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
        await _refused(forged)
        await _refused(forged, Tokens(ISSUER, AUDIENCE, OneKey(key_of_pem(pem(private)))))


@pytest.mark.parametrize("said", ["RS256", "ES256", "EdDSA", "RS384", "RS512", "PS256", "ES384", "ES512", "ES256K"])
@pytest.mark.parametrize("kid", PRIVATE)
async def test_a_key_is_good_for_its_own_algorithm_alone(kid: str, said: str) -> None:
    if said == kid:
        return
    unsigned = raw({"alg": said, "kid": kid}, _plain()).rpartition(".")[0]
    signature = jwt.get_algorithm_by_name(kid).sign(unsigned.encode(), PRIVATE[kid])
    await _refused(f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}")


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
async def test_an_rsa_key_signs_with_one_algorithm(algorithm: str) -> None:
    await _refused(jwt.encode(claims(ANN, READ), RSA, algorithm, {"kid": "RS256"}))


@pytest.mark.parametrize(
    "kid",
    [
        "unknown",
        "../../../../dev/null",
        "/dev/null",
        "' UNION SELECT 'secret' --",
        "RS256\x00",
        "http://127.0.0.1:1/key",
        "",
        "ES256",
        "x" * 4000,
    ],
)
async def test_an_id_of_a_key_is_looked_up_and_nothing_else(kid: str) -> None:
    await _refused(_sign("RS256", {"kid": kid}))


@pytest.mark.parametrize("kid", [7, None, ["RS256"], {"kid": "RS256"}, True], ids=str)
async def test_an_id_that_is_no_text_finds_nothing(kid: Any) -> None:
    await _refused(_signed_rs256({"alg": "RS256", "kid": kid}, _plain()))


@pytest.mark.parametrize("header", ["jwk", "jku", "x5u", "x5c"])
async def test_a_token_does_not_bring_its_own_key(header: str) -> None:
    brought = {
        "jwk": jwk(FOREIGN, kid="RS256"),
        "jku": "http://127.0.0.1:1/keys",
        "x5u": "http://127.0.0.1:1/certificate",
        "x5c": [pem(FOREIGN)],
    }[header]
    forged = jwt.encode(claims(ANN, READ), FOREIGN, "RS256", {"kid": "RS256", header: brought})
    await _refused(forged)
    await _refused(forged, _one())
    # what the issuer signed is sound with it, too: it is not looked at
    assert await _read(_sign("RS256", {header: brought}))


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"], "b64": False}, {"b64": False}], ids=str
)
async def test_what_a_token_calls_critical_is_not_passed_over(header: dict[str, Any]) -> None:
    await _refused(_signed_rs256({"alg": "RS256", "kid": "RS256", **header}, _plain()))


async def test_another_key_or_another_payload_does_not_fit_the_signature() -> None:
    await _refused(jwt.encode(claims(ANN, READ), FOREIGN, "RS256", {"kid": "RS256"}))
    head, payload, signature = _sign("RS256").split(".")
    other = raw({}, claims_plain(sub="0d9f3c52-4c0e-4e43-9f53-3f0a4f9c3b70")).split(".")[1]
    await _refused(f"{head}.{other}.{signature}")
    await _refused(f"{head}.{payload}.")
    await _refused(f"{head}.{payload}.{signature[:-8]}")
    await _refused(f"{head}.{payload}.{'A' * len(signature)}")


async def test_an_elliptic_signature_of_zeros_is_none() -> None:
    """CVE-2022-21449, elsewhere."""
    unsigned = raw({"alg": "ES256", "kid": "ES256"}, _plain()).rpartition(".")[0]
    await _refused(f"{unsigned}.{base64.urlsafe_b64encode(bytes(64)).rstrip(b'=').decode()}")


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "nonsense",
        "e30.e30.",
        "e30.e30.e30",
        "....",
        " ",
        "\x00",
        "ä.ö.ü",
        "\ud800",
        "a" * 8000,
    ],
)
async def test_garbage_is_no_token(garbage: str) -> None:
    await _refused(garbage)


async def test_a_token_of_more_than_8_kb_is_not_even_looked_at() -> None:
    published = _Published()
    detail = await _refused(_sign("RS256", padding="x" * 8192), Tokens(ISSUER, AUDIENCE, published))
    assert "too large" in detail
    assert published.asked == []


async def test_an_encrypted_token_is_none() -> None:
    await _refused("eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a.b.c.d")


def _plain() -> dict[str, Any]:
    return claims_plain()


def claims_plain(**changed: Any) -> dict[str, Any]:
    """Sound claims as JSON has them."""
    told = claims(**{"sub": ANN, "scope": READ} | changed)
    return {name: int(value.timestamp()) if isinstance(value, datetime) else value for name, value in told.items()}


# -------------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "private",
    [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
    ],
    ids=["a small one", "P-384", "secp256k1", "Ed448"],
)
def test_a_key_of_another_kind_is_refused(private: Any) -> None:
    with pytest.raises(ValueError, match="RSA of at least 2048 bits, P-256, or Ed25519"):
        key_of_pem(pem(private))


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="must be a public key in PEM") as refusal:
        key_of_pem(text)
    assert not text or text not in str(refusal.value)


def test_of_published_keys_those_are_taken_that_sign_tokens() -> None:
    secret = base64.urlsafe_b64encode(sha256(b"x").digest()).decode()
    entries: list[Any] = [
        jwk(RSA, kid="a"),
        jwk(EC, kid="b", alg="ES256", use="sig", key_ops=["verify"]),
        jwk(ED, kid="c", alg="EdDSA"),
        # for encryption, for other algorithms, or nonsense
        jwk(RSA, kid="d", use="enc"),
        jwk(RSA, kid="e", alg="RS512"),
        jwk(RSA, kid="f", alg="HS256"),
        jwk(EC, kid="g", key_ops=["encrypt"]),
        jwk(EC, kid="g", key_ops=5),
        jwk(EC, kid="g", key_ops=None),
        jwk(EC, kid="g", key_ops="verify"),
        jwk(RSA, kid=7),
        jwk(RSA, kid="h", n="AQAB"),
        {"kty": "oct", "kid": "i", "k": secret, "alg": "HS256"},
        {"kty": "RSA", "kid": "j"},
        {"kty": [], "kid": "k"},
        {},
        [],
        None,
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "l"},
    ]
    keys = keys_of_set(json.dumps({"keys": entries}).encode())
    assert [(key.kid, key.algorithm) for key in keys] == [("a", "RS256"), ("b", "ES256"), ("c", "EdDSA")]


@pytest.mark.parametrize(
    "document", [b"", b"{}", b"[]", b"null", b'{"keys": []}', b'{"keys": {}}', b'{"keys": [{}]}', b"\xff"]
)
def test_a_set_without_a_key_is_none(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the parser's
        keys_of_set(document)


@pytest.mark.parametrize(
    ("typ", "changed", "status"),
    [
        ("JWT", {}, 200),
        ("at+jwt", {}, 200),
        ("application/at+JWT", {"token_use": "access", "typ": "Bearer"}, 200),
        ("logout+jwt", {}, 401),
        ("JWT", {"typ": "ID"}, 401),
        ("JWT", {"typ": "Refresh"}, 401),
        ("JWT", {"token_use": "id"}, 401),
        ("JWT", {"at_hash": "x"}, 401),
    ],
)
async def test_an_access_token_is_taken_and_no_other_kind(typ: str, changed: dict[str, str], status: int) -> None:
    presented = jwt.encode(claims(ANN, READ, **changed), RSA, "RS256", {"kid": "rsa", "typ": typ})
    tokens = Tokens(ISSUER, AUDIENCE, OneKey(key_of_pem(pem(RSA))))
    if status == 200:
        await tokens.read(presented)
    else:
        with pytest.raises(ProblemError, match="no access token"):
            await tokens.read(presented)
