"""The measurement of recovery: it runs, its figures are sane, and it notices a loss."""

from pathlib import Path

import pytest

from benchmarks import recovery
from benchmarks.measuring import VoidError
from local.broker import RabbitMQ
from local.postgres import PrivatePostgres
from tests.faults.place import Place

pytestmark = pytest.mark.long


async def test_what_is_measured_is_between_an_instant_and_what_is_given_up(
    postgres: PrivatePostgres, rabbitmq: RabbitMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "PATIENT", {"SAGA_STEP_TIMEOUT_SECONDS": "3"})
    faults = ["worker killed, and started again", "queue deleted"]
    told: list[str] = []
    found = await recovery.measure(postgres, rabbitmq, tmp_path, faults, 1, told.append)
    assert told == [f"{fault}, round 1 of 1" for fault in faults]
    rows = recovery.report(found)
    assert [row["fault"] for row in rows] == faults
    for row in rows:
        assert row["rounds"] == 1
        assert 0 < row["moves"]["median"] <= row["caught_up"]["max"] < recovery.ENDS_WITHIN
        assert 0 < row["fresh"]["min"] <= row["fresh"]["median"] <= row["fresh"]["max"] < recovery.ENDS_WITHIN
    assert recovery.table(rows).row_count == len(faults)


async def test_a_fault_that_does_not_heal_voids_the_figures(
    postgres: PrivatePostgres, rabbitmq: RabbitMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop_for_good(here: Place) -> float:
        here.bus_proxy.drop_new()
        return await recovery.FAULTS["queue deleted"](here)

    monkeypatch.setattr(recovery, "FAULTS", {**recovery.FAULTS, "for good": stop_for_good})
    monkeypatch.setattr(recovery, "ENDS_WITHIN", 2.0)
    with pytest.RaisesGroup(pytest.RaisesExc(VoidError, match="not all orders ended within 2 s after: for good")):
        await recovery.measure(postgres, rabbitmq, tmp_path, ["for good"], 1, print)
