"""`make faults` has all that `make test` leaves out, and all that another seed would change."""

import re
import subprocess
import sys

import pytest

from tests.faults.parts import PARTS
from tests.service import PROJECT

CHANCE = re.compile(r"mark\.long|\bseed: int|^from hypothesis", re.MULTILINE)


def test_every_test_that_chance_decides_is_in_a_part() -> None:
    named = {PROJECT / path for paths in PARTS.values() for path in paths}
    assert [path for path in named if not path.exists()] == []
    found = [path for path in (PROJECT / "tests").rglob("test_*.py") if CHANCE.search(path.read_text())]
    assert len(found) > 10
    assert [path for path in found if not named & {path, *path.parents}] == []


@pytest.mark.parametrize(
    ("arguments", "refusal"), [(["nothing"], "no such part: nothing"), (["proof", "--seed", "x"], "'x' is no seed")]
)
def test_what_it_does_not_know_is_refused_in_words(arguments: list[str], refusal: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "tests.faults", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 2
    assert refusal in asked.stderr
