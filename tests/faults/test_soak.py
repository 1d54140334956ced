"""The short version of `make soak`."""

import gc
from pathlib import Path
from random import SystemRandom

import pytest
import uvloop

from local.broker import RabbitMQ
from local.postgres import PrivatePostgres
from tests.faults.storm import Plan, soak

SECONDS = 80
CONCURRENT = 40


# a client leaves connections behind that do not answer when they are closed
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:coroutine 'Connection.close' was never awaited")
def test_two_minutes_of_everything_breaking_lose_nothing(
    mortal_postgres: PrivatePostgres, mortal_rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    plan = Plan(SystemRandom().randrange(10_000), SECONDS, CONCURRENT)
    print(f"seed {plan.seed}")  # noqa: T201 - what a failure is repeated with
    outcome = uvloop.run(soak(plan, mortal_postgres, mortal_rabbitmq, tmp_path))
    # what is left behind is heard here, and not in the next test
    gc.collect()
    assert outcome.failures == [], f"{outcome}\n" + "\n".join(map(str, outcome.fired))
