"""Room for many connections, in processes that begin with little."""

import subprocess
import sys

import pytest

from handlers.http.open_files import OTHERS
from tests.service import PROJECT

ASK = """
import resource, sys
from handlers.http.open_files import room_for
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(room_for(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard", "wanted", "answer"), [
    (256, 4000, 2000, (2000, 2000 + OTHERS, 4000)),
    (4000, 4000, 2000, (2000, 4000, 4000)),
    (256, 1024, 2000, (1024 - OTHERS, 1024, 1024)),
    (256, 300, 2000, (0, 300, 300)),
], ids=["raised", "enough", "as far as it goes", "none"])  # fmt: skip
def test_the_limit_is_raised_as_far_as_it_is_needed_and_may_be(
    soft: int, hard: int, wanted: int, answer: tuple[int, ...]
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", ASK, *map(str, (soft, hard, wanted))],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert tuple(map(int, said.stdout.split())) == answer
