"""What may be configured, and what half of it says."""

from pathlib import Path

import pytest

from saga.errors import ConfigurationError
from settings import load
from tests.access.issuer import EC, pem

SHA = "0" * 64
WHO = {"JWT_ISSUER": "https://issuer.example", "JWT_AUDIENCE": "https://orders.example"}
KEYS_AT = "https://issuer.example/keys"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder without a `.env`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _set(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)


def test_without_a_word_nobody_has_a_key() -> None:
    assert load().keys == ()


def test_keys_come_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    monkeypatch.setenv("API_KEYS", f"ops:{SHA}:operate  shop:{SHA}:orders:write")
    assert [key.id for key in load().keys] == ["ops", "shop"]
    monkeypatch.delenv("API_KEYS")
    (elsewhere / "entries").write_text(f"ops:{SHA}:operate\nshop:{SHA}:metrics\n")
    monkeypatch.setenv("API_KEYS_FILE", str(elsewhere / "entries"))
    assert [key.id for key in load().keys] == ["ops", "shop"]
    assert SHA not in repr(load())


@pytest.mark.parametrize("url", [KEYS_AT, "http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]/keys"])
def test_tokens_are_checked_with_published_keys(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    _set(monkeypatch, WHO | {"JWT_JWKS_URL": url})
    assert load().jwt_jwks_url == url


def test_tokens_are_checked_with_a_key_from_a_file(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    (elsewhere / "key.pem").write_text(pem(EC))
    _set(monkeypatch, WHO | {"JWT_PUBLIC_KEY_FILE": str(elsewhere / "key.pem")})
    assert (load().jwt_public_key or "").startswith("-----BEGIN PUBLIC KEY-----")


@pytest.mark.parametrize(
    "given",
    [
        {"JWT_ISSUER": "https://secret.example"},
        {"JWT_AUDIENCE": "https://secret.example"},
        {"JWT_JWKS_URL": KEYS_AT},
        {"JWT_PUBLIC_KEY": pem(EC)},
        WHO,
        {"JWT_ISSUER": "https://secret.example", "JWT_JWKS_URL": KEYS_AT},
        {"JWT_AUDIENCE": "https://secret.example", "JWT_JWKS_URL": KEYS_AT},
        WHO | {"JWT_JWKS_URL": KEYS_AT, "JWT_PUBLIC_KEY": pem(EC)},
    ],
    ids="+".join,
)
def test_half_of_it_stops_the_start(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    _set(monkeypatch, given)
    with pytest.raises(ConfigurationError, match=r"^JWT_ISSUER, JWT_AUDIENCE, and one of [^\n]+$") as raised:
        load()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEYS", "secret"),
        ("API_KEYS", f"ops:{SHA}:secret"),
        ("API_KEYS", " "),
        ("JWT_JWKS_URL", "http://secret.example/keys"),
        ("JWT_JWKS_URL", "https://user:secret@issuer.example/keys"),
        ("JWT_JWKS_URL", "file:///secret"),
        ("JWT_JWKS_URL", "https://"),
        ("JWT_JWKS_URL", "http://127.0.0.1.secret.example/keys"),
        ("JWT_PUBLIC_KEY", "secret"),
    ],
)
def test_a_wrong_value_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"^{name}: [^\n]+$") as raised:
        load()
    assert "secret" not in str(raised.value).replace("sha256-of-the-secret", "")


@pytest.mark.parametrize("name", ["KEY_REQUESTS_PER_SECOND", "USER_REQUESTS_PER_SECOND"])
@pytest.mark.parametrize("value", ["0", "1e-300", "-1", "nan", "inf"])
def test_a_rate_that_lets_nobody_in_or_everybody_is_none(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        load()


def test_an_empty_file_of_keys_is_a_mistake(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    """And not the word that nothing is configured."""
    (elsewhere / "entries").write_text("\n")
    monkeypatch.setenv("API_KEYS_FILE", str(elsewhere / "entries"))
    with pytest.raises(ConfigurationError, match="API_KEYS: names no key"):
        load()


NAMES = ["ACCESS", "API_KEYS", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL", "JWT_PUBLIC_KEY", "PUBLIC_URL"]


@pytest.mark.parametrize("name", [*NAMES, "TRUSTED_SENDERS", "API_KEYS_FILE", "JWT_PUBLIC_KEY_FILE"])
@pytest.mark.parametrize("value", ["", "  "])
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_an_empty_word_about_access_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Path, name: str, value: str, place: str
) -> None:
    if place == "environment":
        monkeypatch.setenv(name, value)
    else:
        (elsewhere / ".env").write_text(f"{name}={value}\n")
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        load()


@pytest.mark.parametrize("name", ["ACCESS", "TRUSTED_SENDERS", "JWT_ISSUER", "PUBLIC_URL"])
def test_an_empty_file_about_access_is_a_mistake(monkeypatch: pytest.MonkeyPatch, elsewhere: Path, name: str) -> None:
    (elsewhere / "empty").write_text("\n")
    monkeypatch.setenv(f"{name}_FILE", str(elsewhere / "empty"))
    with pytest.raises(ConfigurationError, match=f"{name}: is empty"):
        load()


@pytest.mark.parametrize(
    "name", ["API_KEY", "APIKEYS", "API_KEY_FILE", "JWT_ISSUERS", "JWT_SECRET", "TRUSTED_SENDER", "PUBLIC_URI", "ACCES"]
)
def test_a_word_about_access_that_is_mistyped_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "secret")
    with pytest.raises(ConfigurationError, match=f"^{name}: there is no such setting") as raised:
        load()
    assert "secret" not in str(raised.value)


def test_what_a_platform_sets_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, {"JWT_SERVICE_HOST": "10.0.0.1", "JWT_PORT": "tcp://10.0.0.1:80", "JWT_PORT_80_TCP_ADDR": "x"})
    _set(monkeypatch, {"ACCESS_LOG": "x", "AWS_ACCESS_KEY_ID": "x"})
    load()


@pytest.mark.parametrize("beside", [{"API_KEYS": f"ops:{SHA}:operate"}, {"PUBLIC_URL": "https://orders.example"}])
def test_local_stands_alone(monkeypatch: pytest.MonkeyPatch, beside: dict[str, str]) -> None:
    _set(monkeypatch, {"ACCESS": "local"} | beside)
    with pytest.raises(ConfigurationError, match=r"^ACCESS: `local` stands alone"):
        load()


@pytest.mark.parametrize(
    "url", ["http://orders.example", "orders.example", "https://u:p@orders.example", "https://o/?a"]
)
def test_a_public_address_is_one_over_tls(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PUBLIC_URL", url)
    with pytest.raises(ConfigurationError, match=r"^PUBLIC_URL: "):
        load()
