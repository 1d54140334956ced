"""Where chance comes from: the environment chooses, and a test that fails says with which seed."""

import os

_USUAL = "20260115"


def seed_of(variable: str) -> int:
    """The seed that this variable of the environment chooses; pytest shows the line where the test fails."""
    seed = int(os.environ.get(variable, _USUAL))
    print(f"{variable}={seed}")  # noqa: T201 - for whoever wants to see it again
    return seed
