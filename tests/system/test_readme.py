"""The README's commands, run as they stand there; only the port is another."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from settings import Settings
from tests.service import PROJECT
from tests.system.conftest import System

README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"<!-- runs(?:: id)? -->\n```bash\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def typed() -> bool:
    """What a person types, and all that it does."""
    return True


@pytest.fixture
def migrated(database: str) -> str:
    """An empty one: the service migrates it."""
    return database


def run(block: str, system: System, env: dict[str, str]) -> Any:
    """What a block prints, as JSON where it is that."""
    script = block.replace("http://localhost:5002", system.service.url)
    script = script.replace(".venv/bin/faststream", f"{sys.executable} -m faststream")
    result = subprocess.run(
        ["bash", "-euc", script], cwd=PROJECT, env=os.environ | env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout) if result.stdout else None


async def test_the_commands_show_what_the_readme_says(system: System, environment: dict[str, str]) -> None:
    place, look, publish, scenario_1, scenario_2 = BLOCKS

    order = run(place, system, environment)
    assert (order["status"], order["totalAmount"]) == ("Pending", "1299.99")
    await system.ended(order["id"])
    saga = run(look, system, {"id": order["id"]})
    assert [entry["message"] for entry in saga["history"]] == [
        "Inventory validated",
        "Inventory reserved",
        "Payment processed",
    ]

    run(publish, system, environment)
    assert (await system.ended("d3b07384-d113-4ec6-a7d5-0c8f3b6a2f44"))["status"] == "Completed"

    order = run(scenario_1, system, environment)
    assert (await system.ended(order["id"]))["status"] == "Failed"
    order = run(scenario_2, system, environment)
    assert (await system.ended(order["id"]))["status"] == "Compensated"


def test_the_table_of_settings_is_the_settings() -> None:
    names = {name.upper() for name in Settings.model_fields if not name.startswith("test_")}
    part = README[README.index("## Settings") : README.index("## How fast")]
    rows = [line for line in part.splitlines() if line.startswith("| `")]
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
