"""The running service against its own `/openapi.json`, asked by schemathesis: with what is right and with what is not.

Nothing crashes, no answer is a 5xx, and every answer is one that the document knows: status, media type and schema.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import aio_pika
import httpx2
import pytest

from saga.outbox.message import EXCHANGE
from tests.faults.clients import MIX
from tests.faults.mutants import KEYS
from tests.faults.openapi_hooks import RECEIVER
from tests.faults.place import Place
from tests.service import complaints
from tests.waiting import until

pytestmark = pytest.mark.long

EXAMPLES = 10
"""Requests of each operation that are drawn, beside those that the document suggests."""
SECONDS = 900.0
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
)
PROJECT = Path(__file__).parent.parent.parent


async def test_every_answer_is_one_that_the_document_knows(here: Place, tmp_path: Path, seed: int) -> None:
    service = await here.start_service(WEBHOOK_ALLOW=RECEIVER)
    webhooks = await _webhooks(service.url, 10)
    orders = await here.order([*MIX, *MIX], Random(seed))
    ids = {"order_id": orders, "id": await _dead_letters(here, 20), "webhook_id": webhooks}
    ids["delivery_id"] = [row["id"] for row in await here.rows("SELECT id FROM webhook_deliveries")]
    asked = await asyncio.to_thread(ask, service.url, ids, tmp_path, seed)
    assert asked.returncode == 0, asked.stdout[-20_000:] + asked.stderr
    async with httpx2.AsyncClient(base_url=service.url) as client:
        unknown = await client.put(f"/api/dead-letters/{uuid4()}")
    assert (unknown.status_code, unknown.headers["Allow"]) == (405, "DELETE, GET")
    assert complaints(service.log) == []


async def _webhooks(url: str, count: int) -> list[UUID]:
    """So many endpoints, each of which has been pinged; their ids."""
    events = ["order.created", "order.completed", "order.failed"]
    made = []
    async with httpx2.AsyncClient(base_url=url) as client:
        for _ in range(count):
            answer = await client.post("/api/webhooks", json={"url": f"http://{RECEIVER}/", "events": events})
            assert answer.status_code == 201, answer.text
            made.append(UUID(answer.json()["id"]))
            assert (await client.post(f"/api/webhooks/{made[-1]}/ping")).status_code == 202
    return made


async def _dead_letters(here: Place, count: int) -> list[UUID]:
    """So many dead letters; their ids."""
    async with await aio_pika.connect(here.clients.amqp) as connection:
        domain = await (await connection.channel()).get_exchange(EXCHANGE, ensure=False)
        for number in range(count):
            message = aio_pika.Message(b"{", message_id=str(uuid4()))
            await domain.publish(message, KEYS[number % len(KEYS)])

    async def stored() -> bool:
        return len(await here.rows("SELECT 1 FROM dead_letters")) >= count

    await until(stored)
    return [row["id"] for row in await here.rows("SELECT id FROM dead_letters")]


def ask(url: str, ids: dict[str, list[UUID]], folder: Path, seed: int) -> subprocess.CompletedProcess[str]:
    """Let schemathesis ask every operation; in a process of its own, since it brings much along."""
    options = [
        f"--checks={','.join(CHECKS)}",
        "--phases=examples,coverage,fuzzing",
        f"--max-examples={EXAMPLES}",
        f"--seed={seed}",
        "--suppress-health-check=all",
        "--request-timeout=30",
        "--no-shrink",
        "--continue-on-failure",
        "--warnings=off",
    ]
    known = json.dumps({name: [str(one) for one in some] for name, some in ids.items()})
    return subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", *options],
        cwd=folder,
        env=os.environ
        | {"SCHEMATHESIS_HOOKS": "tests.faults.openapi_hooks", "PYTHONPATH": str(PROJECT)}
        | {"OPENAPI_IDS": known, "OPENAPI_SEED": str(seed)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
