"""The bill of materials has every locked package, and every script that the service gives to browsers."""

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from handlers.http import docs as contracts
from ops.sbom import sbom
from tests.service import PROJECT

LOCKED = dict(
    re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", (PROJECT / "requirements.txt").read_text(), re.MULTILINE)
)


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return sbom()


def test_it_is_of_every_locked_package_with_its_hashes(bill: dict[str, Any]) -> None:
    assert bill["bomFormat"] == "CycloneDX"
    assert {one["name"]: one["version"] for one in bill["components"]} == LOCKED
    assert all(reference["hashes"] for one in bill["components"] for reference in one["externalReferences"])


def test_scripts_inside_wheels_are_listed_beneath_them(bill: dict[str, Any]) -> None:
    scripts = [script for one in bill["components"] for script in one.get("components", [])]
    known = {script["hashes"][0]["content"]: script for script in scripts}
    served = [Path(path) for path, kind in contracts._FILES.values() if kind == "text/javascript"]
    assert len(served) == 2
    for file in served:
        assert sha256(file.read_bytes()).hexdigest() in known, file.name
    [swagger] = [script for script in scripts if script["name"] == "swagger-ui-dist"]
    assert re.fullmatch(r"pkg:npm/swagger-ui-dist@\d+\.\d+\.\d+", swagger["purl"])
