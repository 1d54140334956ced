"""What a dead letter would tell its saga: read as it would be if it came now."""

from handlers.bus.orders import cancellation
from handlers.bus.replies import event_of
from handlers.bus.subscribe import read_as
from models.messages import REPLIES, CancelOrder
from saga.domain import Event

_CANCEL = "domain.order.CancelOrder"
_REPLIES = {f"domain.{model.service}.{model.__name__}": model for model in REPLIES}


def event_in(routing_key: str, body: bytes) -> Event | None:
    """What happens to the saga that a message is about; None where a saga takes no such message.

    Raises:
        RefusedError: it is no such message, and would come back.
    """
    if routing_key == _CANCEL:
        return cancellation(read_as(CancelOrder, body))
    model = _REPLIES.get(routing_key)
    return event_of(read_as(model, body)) if model else None
