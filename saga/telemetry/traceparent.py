"""The W3C trace context of a saga, in which all that ever happens to it is told.

It is stored with the saga, so that any worker at any time goes on with the trace: nothing of it is in memory. The root
span is named by what is stored. A step's span is derived from what makes the step that step, a message's from its row
in the outbox; so whoever ends one knows the name that others have used for it before.
"""

import re
import secrets
from hashlib import blake2b
from uuid import UUID

from saga.domain import Saga

HEADER = "traceparent"
_VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def new_trace_id() -> str:
    """32 hex digits that nobody else has."""
    return secrets.token_hex(16)


def new_root(trace_id: str, *, sampled: bool) -> str:
    """The context of a new saga. Whether it is told to anybody is decided here, once for its whole life."""
    return f"00-{trace_id}-{secrets.token_hex(8)}-0{int(sampled)}"


def trace_id(traceparent: str) -> str:
    """The 32 hex digits of the trace that a context belongs to."""
    return traceparent[3:35]


def span_id(traceparent: str) -> str:
    """The 16 hex digits of the span that a context names."""
    return traceparent[36:52]


def is_sampled(traceparent: str) -> bool:
    """Whether its spans are told."""
    return traceparent[-1] in "13579bdf"


def valid(header: object) -> str | None:
    """A header's value as a context; None where it is none of version 00."""
    return header if isinstance(header, str) and _VALID.fullmatch(header) else None


def of_step(root: str, saga: Saga) -> str:
    """The context of the step that a saga is taking; of the saga itself where it takes none, or nothing is told."""
    command = saga.position.open_command
    if command is None or not is_sampled(root):
        return root
    step = f"{saga.id} {command} {saga.entered_at.timestamp():.6f}"
    return _child(root, blake2b(step.encode(), digest_size=8).hexdigest())


def of_message(parent: str, row: UUID) -> str:
    """The context that a message carries to whoever handles it: of its publishing, under `parent`."""
    return _child(parent, row.hex[16:]) if is_sampled(parent) else parent


def new_child(parent: str) -> str:
    """The context of one more span of the same trace."""
    return _child(parent, secrets.token_hex(8))


def _child(parent: str, name: str) -> str:
    return f"{parent[:36]}{name}{parent[52:]}"
