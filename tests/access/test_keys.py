"""API keys: how they are made, told apart, and written into a setting."""

import ast
import inspect
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from starlette.requests import HTTPConnection

from handlers.access import api_keys as module
from handlers.access.api_keys import find_key, make_key, parse_keys
from handlers.access.authenticator import Access
from handlers.access.principal import Scope
from handlers.http.problems import ProblemError
from tests.access.conftest import asking, header

SHA = "0" * 64


def test_a_key_is_random_and_its_entry_does_not_tell_it() -> None:
    presented, entry = make_key("ops", [Scope.OPERATE, Scope.METRICS])
    assert re.fullmatch(r"ok_ops_[A-Za-z0-9_-]{43}", presented)
    assert entry == f"ops:{sha256(presented.removeprefix('ok_ops_').encode()).hexdigest()}:operate+metrics"
    assert make_key("ops", [Scope.OPERATE])[0] != presented


def test_what_is_made_is_read_again() -> None:
    ends = datetime(2030, 1, 31, 12, tzinfo=UTC)
    made = [make_key("shop.eu-1", Scope), make_key("old", [Scope.METRICS], ends)]
    known = parse_keys("\n".join(entry for _, entry in made))
    shop, old = [find_key(known, presented) for presented, _ in made]
    assert shop
    assert (shop.id, shop.scopes, shop.expires_at) == ("shop.eu-1", frozenset(Scope), None)
    assert old
    assert (old.id, old.expires_at) == ("old", ends)
    assert old.valid(ends - timedelta(seconds=1))
    assert not old.valid(ends)


@pytest.mark.parametrize("id_", ["", "a:b", "a b", "ä", "x" * 65, "a\n"])
def test_an_id_is_one_that_can_stand_in_an_entry(id_: str) -> None:
    with pytest.raises(ValueError, match="an id has"):
        make_key(id_, Scope)


def test_nobody_else_s_secret_fits() -> None:
    presented, entry = make_key("ops", [Scope.OPERATE])
    other, another = make_key("shop", [Scope.METRICS])
    known = parse_keys(f"{entry} {another}")
    secret = presented.removeprefix("ok_ops_")
    for wrong in (
        f"ok_shop_{secret}",
        f"ok_nobody_{secret}",
        f"ok_ops_{secret[:-1]}",
        f"ok_ops_{secret}A",
        f"ok_ops_{secret} ",
        f"ok_OPS_{secret}",
        f"OK_ops_{secret}",
        f"ok__{secret}",
        f"ok_ops{secret}",
        f"ok_ops_{entry.split(':')[1]}",
        "ok_ops_",
        "ok_",
        "",
        "ok_ops_\u00e4",
        "ok_ops_" + "x" * 100_000,
    ):
        assert find_key(known, wrong) is None, wrong
    found = find_key(known, other)
    assert found
    assert found.id == "shop"


def test_an_id_ends_where_one_does_that_is_configured() -> None:
    made = [make_key(id_, [Scope.METRICS]) for id_ in ("shop", "shop_eu", "shop_eu_", "_")]
    known = parse_keys(" ".join(entry for _, entry in made))
    found = [find_key(known, presented) for presented, _ in made]
    assert [key.id for key in found if key] == ["shop", "shop_eu", "shop_eu_", "_"]
    _, _, secret = made[0][0].partition("ok_shop_")
    assert find_key(known, f"ok_shop_eu_{secret}") is None


def test_two_keys_of_one_id_are_good_at_once_and_each_for_its_own() -> None:
    first, second = make_key("shop", [Scope.ORDERS_WRITE]), make_key("shop", [Scope.ORDERS_WRITE, Scope.METRICS])
    both = parse_keys(f"{first[1]} {second[1]}")
    scopes = [found.scopes for presented, _ in (first, second) if (found := find_key(both, presented))]
    assert scopes == [{Scope.ORDERS_WRITE}, {Scope.ORDERS_WRITE, Scope.METRICS}]
    assert find_key(parse_keys(second[1]), first[0]) is None


def test_every_key_is_compared_to_its_end_whoever_is_asked_for() -> None:
    """By construction: the loop has no way out, and what is secret is compared by `compare_digest` alone."""
    (function,) = ast.parse(inspect.getsource(module.find_key)).body
    assert isinstance(function, ast.FunctionDef)
    (loop,) = [node for node in ast.walk(function) if isinstance(node, ast.For)]
    assert not [node for node in ast.walk(loop) if isinstance(node, ast.Break | ast.Continue | ast.Return | ast.BoolOp)]
    assert not [node for node in ast.walk(loop) if isinstance(node, ast.Compare)]
    assert sum(isinstance(node, ast.Attribute) and node.attr == "compare_digest" for node in ast.walk(loop)) == 2
    # a key that cannot be one is compared, too
    assert not [node for node in ast.walk(function) if isinstance(node, ast.Return) and node is not function.body[-1]]


@pytest.mark.parametrize(
    "entry",
    [
        "ops",
        f"ops:{SHA}",
        f"ops:{SHA}:",
        f"ops:{SHA[1:]}:operate",
        f"ops:{SHA}0:operate",
        f"ops:{'g' * 64}:operate",
        f"a/b:{SHA}:operate",
        f":{SHA}:operate",
        f"ops:{SHA}:operate+",
        f"ops:{SHA}:operate,metrics",
        f"ops:{SHA}:Operate",
        f"ops:{SHA}:admin",
        f"ops:{SHA}:orders",
        f"ops:{SHA}:operate:",
        f"ops:{SHA}:operate:2030-01-31",
        f"ops:{SHA}:operate:2030-01-31T00:00:00",
        f"ops:{SHA}:operate:2030-13-31T00:00:00Z",
        f"ops:{SHA}:operate:tomorrow",
    ],
)
def test_an_entry_that_is_wrong_is_named_by_its_number_and_not_repeated(entry: str) -> None:
    with pytest.raises(ValueError, match=r"^entry 2 ") as refusal:
        parse_keys(f"shop:{SHA}:orders:write {entry}")
    assert SHA not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("expiry", ["2030-01-31T00:00:00Z", "2030-01-31t01:00:00.5+01:00", "2030-01-30T23:00:00-01:00"])
def test_an_expiry_is_a_moment_as_rfc_3339_has_it(expiry: str) -> None:
    (key,) = parse_keys(f"ops:{SHA}:orders:read:any+operate:{expiry}")
    assert key.scopes == {Scope.ORDERS_READ_ANY, Scope.OPERATE}
    assert key.expires_at
    assert abs(key.expires_at - datetime(2030, 1, 31, tzinfo=UTC)) < timedelta(seconds=1)


def test_a_setting_without_a_key_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="names no key"):
        parse_keys(" \n ")


async def test_a_key_that_has_ended_or_is_gone_lets_nobody_in(migrated: str) -> None:
    first, second = make_key("ops", [Scope.OPERATE]), make_key("ops", [Scope.OPERATE])
    for known, expected in ((f"{first[1]} {second[1]}", [200, 200]), (second[1], [401, 200])):
        async with asking(migrated, parse_keys(known)) as service:
            answers = [
                await service.client.get("/api/sagas", headers=header(presented)) for presented, _ in (first, second)
            ]
        assert [answer.status_code for answer in answers] == expected


async def test_a_key_that_a_person_could_have_thought_up_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    made, entry = make_key("shop", [Scope.OPERATE])
    digest = sha256(b"correct-horse-battery").hexdigest()
    access = Access(None, parse_keys(f"{entry} ops:{digest}:operate"))  # type: ignore[arg-type]
    for presented in (made, "ok_ops_correct-horse-battery", "ok_ops_correct-horse-battery"):
        await access.credential(presented)
    (warned,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "can be guessed" in warned.msg
    assert vars(warned)["known"]["caller"] == "key:ops"
    assert "horse" not in str(vars(warned))


async def test_where_nothing_is_configured_nobody_is_let_in() -> None:
    connection = HTTPConnection({"type": "http", "scheme": "http", "headers": [], "client": ("127.0.0.1", 1)})
    with pytest.raises(ProblemError) as refused:
        await Access(None).caller(connection)  # type: ignore[arg-type]
    assert refused.value.status_code == 401
