"""What to try, once everything runs."""

import json
import shlex
from pathlib import Path
from typing import get_args
from uuid import uuid4

from local.rule import Behaviour

MODES: tuple[str, ...] = get_args(Behaviour.model_fields["mode"].annotation)
"""All that a stand-in can be told to be."""


def order(quantity: int, price: float) -> str:
    """The body of an order of laptops, with ids of its own."""
    item = {"productId": str(uuid4()), "productName": "Laptop", "quantity": quantity, "price": price}
    return json.dumps({"userId": str(uuid4()), "items": [item]})


def post(url: str, body: str) -> str:
    """The curl that sends it."""
    return f"curl -X POST {url} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def guide(home: Path, port: int, inventory_port: int, billing_port: int, traces: str | None = None) -> str:
    """Addresses and commands to copy; the ids in them are made up anew each time.

    Args:
        home: where data and logs are.
        port: of the service.
        inventory_port: of the stand-in Inventory.
        billing_port: of the stand-in Billing.
        traces: the collector that they go to; None: nowhere.
    """
    collector = f"\nTraces go to      {traces}" if traces else ""
    orders = f"http://localhost:{port}/api/orders"
    mute = json.dumps({"ValidateInventory": {"mode": "mute"}})
    normal = json.dumps({"ValidateInventory": {"mode": "normal"}})
    create = json.dumps({"eventId": str(uuid4()), **json.loads(order(1, 1299.99))})
    return f"""
The dashboard     http://localhost:{port}/
Try it            http://localhost:{port}/try
The HTTP contract http://localhost:{port}/docs
The bus contract  http://localhost:{port}/asyncapi
Inventory         http://localhost:{inventory_port}/behaviour
Billing           http://localhost:{billing_port}/behaviour
Data and logs     {home}{collector}

Order a laptop:
  {post(orders, order(1, 1299.99))}

Watch its saga (ID is the "id" in the answer):
  curl {orders}/ID/saga

The same from the bus:
  . {shlex.quote(str(home / "env"))}
  faststream publish app:app {shlex.quote(create)} --exchange domain --routing_key domain.order.CreateOrder

Scenario 1, insufficient inventory (there are 1000 of everything):
  {post(orders, order(1001, 1.00))}

Scenario 2, payment failed (every card is good for 10000.00), the reservation is released:
  {post(orders, order(1, 10000.01))}

Scenario 3, Inventory down (order a laptop, and watch its saga's "waiting"), and up again:
  curl -X PUT http://localhost:{inventory_port}/behaviour -d '{mute}'
  curl -X PUT http://localhost:{inventory_port}/behaviour -d '{normal}'
Each command of Inventory and Billing can be {", ".join(MODES)}; a GET shows what they are.

Ctrl-C stops all of it; the data is still there next time.
"""
