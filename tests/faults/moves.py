"""One move for each message, however often it came: the history against what was on the wire."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from uuid import UUID

from models.states import Command, EntryStatus
from saga.transitions import REPLY_MODELS, Signal
from tests.faults.laws import World

_UNDOING = (Command.RELEASE_INVENTORY, Command.REFUND_PAYMENT)


def moved_twice(world: World) -> Iterator[str]:
    """Every kind of answer that moved its saga, or was written down as ignored, more often than it was given.

    An answer is one by its `eventId`. What undoes is the exception (docs/state-machine.md, rule 8): asked for again, a
    participant gives its very answer again, and it counts.
    """
    given: dict[UUID, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in world.heard:
        name = one.routing_key.rsplit(".", 1)[-1]
        if name in REPLY_MODELS:
            given[UUID(one.body["orderId"])][name].add(one.body["eventId"])
    for order_id, (stored, _) in world.stored.items():
        written = Counter[tuple[str, bool]]()
        for entry in stored.saga.history:
            written[entry["event"], entry["status"] == EntryStatus.IGNORED] += entry.get("count", 1)
        for (event, ignored), times in written.items():
            reply = REPLY_MODELS.get(Signal(event))
            if reply is None:
                continue
            again = stored.saga.sent.get(reply.answers, 0) if reply.answers in _UNDOING and reply.success else 0
            if times > max(len(given[order_id][event]), again):
                what = "ignored" if ignored else "moved by"
                yield f"order {order_id}: {what} {event} {times} times, given {len(given[order_id][event])} times"
