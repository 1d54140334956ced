"""The soak for some minutes; `make soak` is half an hour of it."""

import gc
from pathlib import Path

import pytest
import uvloop

from local.broker import RabbitMQ
from local.postgres import PrivatePostgres
from tests.faults.storm import Plan, soak

pytestmark = pytest.mark.long

SECONDS = 180
CONCURRENT = 40


# a client leaves connections behind that do not answer when they are closed
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:coroutine 'Connection.close' was never awaited")
def test_minutes_of_everything_breaking_lose_nothing(
    mortal_postgres: PrivatePostgres, mortal_rabbitmq: RabbitMQ, tmp_path: Path, seed: int
) -> None:
    outcome = uvloop.run(soak(Plan(seed, SECONDS, CONCURRENT), mortal_postgres, mortal_rabbitmq, tmp_path))
    # what is left behind is heard here, and not in the next test
    gc.collect()
    assert outcome.failures == [], f"{outcome}\n" + "\n".join(map(str, outcome.fired))
