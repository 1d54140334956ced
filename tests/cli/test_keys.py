"""Keys from the command line: made there, and shown to a service that asks for one."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.access.api_keys import find_key, make_key, parse_keys
from handlers.access.principal import Scope
from tests.access.conftest import asking
from tests.cli.conftest import CommandLine
from tests.http.conftest import listening

READS, OPERATES = make_key("reader", [Scope.ORDERS_READ_ANY]), make_key("ops", [Scope.OPERATE])


@pytest.fixture
async def closed(migrated: str) -> AsyncIterator[CommandLine]:
    """The command line beside a service that asks for a key."""
    keys = parse_keys(f"{READS[1]} {OPERATES[1]}")
    async with asking(migrated, keys) as service, listening(service.app) as url:
        yield CommandLine(url, migrated)


@pytest.fixture
def nowhere() -> CommandLine:
    """The command line where no service is needed."""
    return CommandLine("http://127.0.0.1:1")


async def test_a_key_is_made_and_shown_once(nowhere: CommandLine) -> None:
    told = await nowhere.run("key", "ops", "--scope", "operate", "--scope", "orders:read:any")
    match = re.search(r"(ok_ops_\S+)\s.*\s(ops:[0-9a-f]{64}:\S+)$", told.strip(), re.DOTALL)
    assert match
    key = find_key(parse_keys(match[2]), match[1])
    assert key
    assert key.scopes == frozenset({Scope.OPERATE, Scope.ORDERS_READ_ANY})


async def test_scripts_are_given_json_and_a_key_may_end(nowhere: CommandLine) -> None:
    told = await nowhere.run("--json", "key", "ops", "--scope", "metrics", "--expires", "2030-01-31T01:00:00+01:00")
    made = json.loads(told)
    assert made["entry"].endswith(":metrics:2030-01-31T00:00:00Z")
    assert find_key(parse_keys(made["entry"]), made["key"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("a/b", "--scope", "operate"),
        ("", "--scope", "operate"),
        ("ops", "--scope", "admin"),
        ("ops",),
        ("ops", "--scope", "operate", "--expires", "tomorrow"),
        ("ops", "--scope", "operate", "--expires", "2020-01-01T00:00:00Z"),
        ("ops", "--scope", "operate", "--into", "/nowhere/keys"),
    ],
)
async def test_what_is_no_key_is_refused(nowhere: CommandLine, arguments: tuple[str, ...]) -> None:
    assert "ok_" not in await nowhere.run("key", *arguments, code=2)


async def test_a_key_that_is_kept_is_made_once_and_for_its_owner_alone(nowhere: CommandLine, tmp_path: Path) -> None:
    entries, kept = tmp_path / "entries", tmp_path / "key"
    made = [await nowhere.run("key", "ops", "--scope", "operate", "--into", entries, "--keep", kept) for _ in range(2)]
    assert made[0] == made[1] == f"ops: {kept.read_text()}"
    assert kept.stat().st_mode & 0o777 == 0o600
    (known,) = parse_keys(entries.read_text())
    assert find_key([known], kept.read_text().strip())
    await nowhere.run("key", "shop", "--scope", "operate", "--into", entries)
    assert [key.id for key in parse_keys(entries.read_text())] == ["ops", "shop"]


async def test_the_service_is_shown_the_key_of_the_environment(
    closed: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "Bearer" in await closed.run("sagas", code=3)
    monkeypatch.setenv("ORDER_SERVICE_KEY", OPERATES[0])
    assert await closed.run("sagas") == "none\n"
    monkeypatch.setenv("ORDER_SERVICE_KEY", READS[0])
    assert "operate" in await closed.run("sagas", code=3)
    monkeypatch.delenv("ORDER_SERVICE_KEY")
    file = tmp_path / "key"
    file.write_text(f"{OPERATES[0]}\n")
    monkeypatch.setenv("ORDER_SERVICE_KEY_FILE", str(file))
    assert await closed.run("sagas") == "none\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORDER_SERVICE_KEY", "ok_ops_se\ncret"),
        ("ORDER_SERVICE_KEY", "ok_ops_sécret"),
        ("ORDER_SERVICE_KEY_FILE", "/no"),
    ],
)
async def test_a_key_that_cannot_be_one_is_not_repeated(
    closed: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    told = await closed.run("sagas", code=2)
    assert name in told
    assert value not in told
