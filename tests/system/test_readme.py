"""The commands in the README and docs/, run as they stand there; only the port is another."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.guide import MODES, guide
from local.host import free_port
from local.stand_in import control
from settings import Settings
from tests.http.conftest import listening
from tests.service import PROJECT
from tests.system.conftest import System
from tests.waiting import until

RECEIVES_AT = free_port()
TUTORIAL, CONFIGURATION, WEBHOOKS = (
    (PROJECT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in ("tutorial", "configuration", "webhooks")
)


def blocks(page: Path) -> list[str]:
    """The commands of a page that are to be run."""
    return re.findall(r"<!-- runs(?:: id)? -->\n```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


RUN = {page: found for page in (PROJECT / "README.md", *sorted(PROJECT.glob("docs/*.md"))) if (found := blocks(page))}


@pytest.fixture
def typed() -> bool:
    """What a person types, and all that it does."""
    return True


@pytest.fixture
def migrated(database: str) -> str:
    """An empty one: the service migrates it."""
    return database


# with a page more, or a block, this fails
(PLACE, LOOK, PUBLISH), (NO_STOCK, NO_MONEY, DOWN, WHY, UP), (SUBSCRIBE,) = RUN.values()


async def run(block: str, system: System, env: dict[str, str], inventory: str = "") -> Any:
    """The last that a block prints, as JSON, where it prints anything."""
    script = block.replace("http://localhost:5002", system.service.url).replace("http://localhost:5003", inventory)
    script = script.replace(".venv/bin/faststream", f"{sys.executable} -m faststream")
    # what it asks may be in this process
    result = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euc", script], cwd=PROJECT, env=os.environ | env, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    said, rest = None, result.stdout
    while rest:
        said, end = json.JSONDecoder().raw_decode(rest)
        rest = rest[end:].lstrip()
    return said


async def test_the_commands_show_what_the_readme_says(system: System, environment: dict[str, str]) -> None:
    order = await run(PLACE, system, environment)
    assert (order["status"], order["totalAmount"]) == ("Pending", "1299.99")
    await system.ended(order["id"])
    saga = await run(LOOK, system, {"id": order["id"]})
    assert [entry["message"] for entry in saga["history"]] == [
        "Inventory validated",
        "Inventory reserved",
        "Payment processed",
    ]

    await run(PUBLISH, system, environment)
    assert (await system.ended("d3b07384-d113-4ec6-a7d5-0c8f3b6a2f44"))["status"] == "Completed"

    order = await run(NO_STOCK, system, environment)
    assert (await system.ended(order["id"]))["status"] == "Failed"
    order = await run(NO_MONEY, system, environment)
    assert (await system.ended(order["id"]))["status"] == "Compensated"


IMPATIENT = {
    "SAGA_STEP_TIMEOUT_SECONDS": "1",
    "SAGA_RETRY_ATTEMPTS": "4",
    "SAGA_RETRY_DELAY_SECONDS": "0.2",
    "SAGA_REASK_SECONDS": "0.5",
}


@pytest.mark.parametrize("settings", [IMPATIENT])
async def test_a_mute_inventory_is_waited_for_and_the_saga_says_so(
    system: System, environment: dict[str, str], settings: dict[str, str]
) -> None:
    async with listening(control(system.inventory)) as inventory:
        order = await run(DOWN, system, environment, inventory)
        saga = await run(WHY, system, {"id": order["id"]})
        assert (saga["status"], saga["currentStep"]) == ("Started", "ValidateInventory")
        assert saga["waiting"]["for"] == ["InventoryValidated", "InventoryValidationFailed"]
        assert saga["waiting"]["then"] in TUTORIAL.replace("\n", " ")
        assert saga["waiting"]["until"] is not None
        await run(UP, system, environment, inventory)
        saga = await system.ended(order["id"])
    assert saga["status"] == "Completed"
    assert "TimedOut" in [entry["status"] for entry in saga["history"]]


@contextmanager
def receiving(port: int, secret: str) -> Iterator[list[str]]:
    """The documented receiver, and the lines that it prints."""
    [block] = re.findall(r"<!-- receives -->\n```python\n(.*?)```", WEBHOOKS, re.DOTALL)
    command = [sys.executable, "-c", block.replace("8000", str(port)), secret]
    printed: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        reading = threading.Thread(target=printed.extend, args=(process.stdout,))
        reading.start()
        try:
            yield printed
        finally:
            process.kill()
            reading.join()


@pytest.mark.parametrize("settings", [{"WEBHOOK_ALLOW": f"localhost:{RECEIVES_AT}"}])
async def test_a_receiver_written_as_documented_is_told_of_an_order(
    system: System, environment: dict[str, str], settings: dict[str, str]
) -> None:
    endpoint = await run(SUBSCRIBE.replace("8000", str(RECEIVES_AT)), system, environment)
    with receiving(RECEIVES_AT, endpoint["secret"]) as printed:
        order = await run(PLACE, system, environment)

        async def told() -> bool:
            return len(printed) >= 2

        await until(told)
    assert {line.split()[1] for line in printed} == {"order.created", "order.completed"}
    assert all(order["id"] in line for line in printed)


def test_all_that_a_stand_in_can_be_told_is_named_where_people_look() -> None:
    told = guide(PROJECT, 5002, 5003, 5004)
    rows = re.findall(r"^\| `([a-z-]+)` \|", TUTORIAL, re.MULTILINE)
    assert tuple(rows) == MODES
    assert all(mode in told for mode in MODES)


def test_the_table_of_settings_is_the_settings() -> None:
    names = {name.upper() for name in Settings.model_fields if not name.startswith("test_")}
    rows = [line for line in CONFIGURATION.splitlines() if line.startswith("| `")]
    told = dict.fromkeys(re.findall(r"`([A-Z_]+)`", " ".join(row.split("|")[1] for row in rows)))
    assert set(told) == names
    for row in rows:
        _, names_told, default, _, _ = row.split("|")
        for name, value in zip(re.findall(r"`([A-Z_]+)`", names_told), default.split(","), strict=False):
            known = Settings.model_fields[name.lower()].get_default()
            shown = {None: "none", True: "true"}.get(
                known, f"{getattr(known, 'get_secret_value', lambda k=known: k)()}"
            )
            assert value.strip() == shown, name
