"""What a reply means to the saga."""

from uuid import UUID

from handlers.bus.replies import event_of
from models.messages import InventoryReserved


def test_a_reply_tells_which_saga_and_which_command_it_is_about() -> None:
    ids = {name: str(UUID(int=number)) for number, name in enumerate(("eventId", "orderId", "sagaId", "causationId"))}
    event = event_of(InventoryReserved.model_validate(ids))
    assert [str(id_) for id_ in (event.event_id, event.order_id, event.saga_id, event.causation_id)] == [*ids.values()]
