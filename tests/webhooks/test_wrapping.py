"""Webhooks' secrets are stored wrapped, and deliveries are signed with them or wait."""

import base64
from pathlib import Path
from uuid import uuid4

import pytest

from saga.errors import ConfigurationError
from saga.runtime.database import sessions
from saga.webhooks import endpoints, stored_secrets
from saga.webhooks.secret_wrapping import UnwrapError, Wrapping, read_keys
from saga.webhooks.stored_secrets import wrap_stored
from tests.service import READY_SECONDS, Service
from tests.system.conftest import failed_start
from tests.waiting import until
from tests.webhooks.conftest import Place, System

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
SECRET = "whsec_bmV3IHNlY3JldCBvZiB0aGlzIHRlc3Qh"
ID = uuid4()


def test_what_is_wrapped_is_opened_with_its_key_for_its_endpoint_alone() -> None:
    wrapping = Wrapping([KEY])
    stored = wrapping.wrap(ID, SECRET)
    assert SECRET[6:] not in stored
    assert stored != wrapping.wrap(ID, SECRET)
    assert wrapping.unwrap(ID, stored) == SECRET
    assert Wrapping([OTHER_KEY, KEY]).unwrap(ID, stored) == SECRET
    for other, id_ in ((wrapping, uuid4()), (Wrapping([OTHER_KEY]), ID), (Wrapping(), ID)):
        with pytest.raises(UnwrapError) as refused:
            other.unwrap(id_, stored)
        assert SECRET[6:] not in str(refused.value)


def test_what_was_tampered_with_is_not_opened() -> None:
    wrapping = Wrapping([KEY])
    stored = wrapping.wrap(ID, SECRET)
    head, _, text = stored.rpartition(":")
    sealed = base64.b64decode(text)
    changed = [sealed[:number] + bytes([sealed[number] ^ 1]) + sealed[number + 1 :] for number in range(len(sealed))]
    for other in [*(base64.b64encode(one).decode() for one in (*changed, sealed[:-1], b"")), "", "!", "a:b"]:
        with pytest.raises(UnwrapError):
            wrapping.unwrap(ID, f"{head}:{other}")


def test_without_a_key_secrets_are_stored_as_they_are_and_open_with_one_too() -> None:
    assert Wrapping().wrap(ID, SECRET) == SECRET
    assert Wrapping([KEY]).unwrap(ID, SECRET) == SECRET


def test_keys_are_32_bytes_in_base64() -> None:
    texts = [base64.b64encode(key).decode() for key in (KEY, OTHER_KEY)]
    assert read_keys("\n".join(texts)) == (KEY, OTHER_KEY)
    for wrong in ("", " ", "hunter2", texts[0][:-4], f"{texts[0]} x", base64.b64encode(b"k" * 33).decode()):
        with pytest.raises(ValueError, match="must be 32 random bytes in base64") as refused:
            read_keys(wrong)
        assert not wrong.strip() or wrong not in str(refused.value)


async def stored(place: Place) -> list[str]:
    rows = await place.rows("SELECT secret, previous_secret FROM webhooks WHERE deleted_at IS NULL ORDER BY id")
    return [one for row in rows for one in row.values() if one]


async def test_a_wrapped_secret_signs_as_the_one_before_does_after_a_rotation(system: System) -> None:
    system.place.wrapping = Wrapping([KEY])
    endpoint = await system.endpoint()
    [old] = system.receiver.secrets["/hooks"]
    new = await system.place.call(endpoints.rotate_secret, endpoint.id, system.place.wrapping)
    assert all(one.startswith("aes256gcm:") for one in await stored(system.place))
    assert not {old, new} & set(await stored(system.place))
    async with system.courier():
        for secret in (old, new):
            system.receiver.secrets["/hooks"] = [secret]
            await system.write(endpoint.id)
            await system.until_all("delivered")
    assert (len(system.receiver.got), system.receiver.forged) == (2, [])


async def test_secrets_that_were_stored_without_a_key_work_and_are_wrapped_at_the_start(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_secrets, "PIECE", 2)
    made = [await system.endpoint(f"/{number}") for number in range(5)]
    await system.place.call(endpoints.rotate_secret, made[0].id, Wrapping())
    await system.place.call(endpoints.delete, (await system.endpoint("/gone")).id)
    system.place.wrapping = Wrapping([KEY])

    async def deliver() -> None:
        for endpoint in made:
            await system.write(endpoint.id)
        async with system.courier():
            await system.until_all("delivered")

    await deliver()
    # at a start, at the next one, and with a new key
    for wrapping in (Wrapping([KEY]), Wrapping([KEY]), Wrapping([OTHER_KEY, KEY])):
        await wrap_stored(sessions(system.place.pool), wrapping)
        assert len(await stored(system.place)) == 6
        assert {one.rpartition(":")[0] + ":" for one in await stored(system.place)} == {wrapping.begins}
    system.place.wrapping = Wrapping([OTHER_KEY])
    await deliver()
    assert (len(system.receiver.got), system.receiver.forged) == (10, [])


@pytest.mark.parametrize("wrapping", [Wrapping(), Wrapping([OTHER_KEY])])
async def test_secrets_of_another_key_end_the_start_and_stay_as_they_are(place: Place, wrapping: Wrapping) -> None:
    await place.subscribe()
    place.wrapping = Wrapping([KEY])
    await place.subscribe()
    before = await stored(place)
    with pytest.raises(ConfigurationError, match=rf"^WEBHOOK_SECRET_KEY: .*{Wrapping([KEY]).key_ids[0]}"):
        await wrap_stored(sessions(place.pool), wrapping)
    assert await stored(place) == before


async def test_a_service_without_the_key_does_not_start(place: Place, migrated: str, tmp_path: Path) -> None:
    place.wrapping = Wrapping([KEY])
    await place.subscribe()
    text = failed_start(tmp_path, {"DATABASE_URL": migrated, "RABBITMQ_URL": "amqp://user:password@127.0.0.1:9/"})
    assert len([line for line in text.splitlines() if "WEBHOOK_SECRET_KEY: secrets of webhooks" in line]) == 1, text


async def test_a_service_with_a_key_wraps_what_is_stored_when_it_starts(
    place: Place, migrated: str, tmp_path: Path
) -> None:
    await place.subscribe()
    file = tmp_path / "webhook.key"
    file.write_bytes(base64.b64encode(KEY) + b"\n")
    service = Service(
        tmp_path,
        {
            "DATABASE_URL": migrated,
            "RABBITMQ_URL": "amqp://user:password@127.0.0.1:9/",
            "WEBHOOK_SECRET_KEY_FILE": str(file),
        },
    )

    async def wrapped() -> bool:
        return all(one.startswith(f"{Wrapping([KEY]).begins}") for one in await stored(place))

    try:
        await until(wrapped, READY_SECONDS)
    finally:
        service.kill()


@pytest.mark.parametrize("wrapping", [Wrapping(), Wrapping([OTHER_KEY])])
async def test_what_a_worker_has_no_key_for_waits_for_another_worker(system: System, wrapping: Wrapping) -> None:
    plain = await system.endpoint("/plain")
    system.place.wrapping = Wrapping([KEY])
    wrapped = await system.endpoint("/wrapped")
    system.place.wrapping = wrapping
    for endpoint in (wrapped, plain):
        await system.write(endpoint.id, 3)
    async with system.courier():
        await system.until("count(*) = 3 FROM webhook_deliveries WHERE status = 'delivered'")
        for row in await system.place.deliveries(wrapped.id):
            assert (row["status"], row["attempts"], row["lease"]) == ("pending", 0, None)
    system.place.wrapping = Wrapping([KEY])
    async with system.courier():
        await system.until_all("delivered")
    assert (len(system.receiver.got), system.receiver.forged) == (6, [])


async def test_nothing_is_sent_with_a_secret_that_belongs_to_another_row(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    system.place.wrapping = Wrapping([KEY])
    one, other = await system.endpoint("/one"), await system.endpoint("/other")
    await system.place.execute(
        "UPDATE webhooks SET secret = (SELECT secret FROM webhooks WHERE id = :other) WHERE id = :one",
        one=one.id, other=other.id,
    )  # fmt: skip
    for endpoint in (one, other):
        await system.write(endpoint.id)
    async with system.courier():
        await system.until("count(*) = 1 FROM webhook_deliveries WHERE status = 'delivered'")
        await system.until("count(*) = 1 FROM webhook_deliveries WHERE lease IS NOT NULL")
    [row] = await system.place.deliveries(one.id)
    assert (row["status"], row["attempts"]) == ("pending", 0)
    assert [got.path for got in system.receiver.got] == ["/other"]
    assert system.receiver.forged == []
    assert "a webhook cannot be sent" in caplog.text
    # and a start leaves it as it is
    await wrap_stored(sessions(system.place.pool), Wrapping([OTHER_KEY, KEY]))
    assert (await stored(system.place))[0 if one.id < other.id else 1].startswith(f"{Wrapping([KEY]).begins}")
