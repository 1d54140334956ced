"""An OTLP receiver that remembers: `/v1/traces` over HTTP on the loopback address, in a thread of its own.

`python -m tests.collector PORT` is one in a process of its own; a GET there tells how many spans it has taken.
"""

import asyncio
import gzip
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from local.host import LOOPBACK, free_port

PATIENCE = 20.0
_DECODED: Mapping[str | None, Callable[[bytes], bytes]] = MappingProxyType(
    {None: bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}
)


@dataclass(frozen=True)
class Event:
    name: str
    time: int
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """A span as it came over the wire. Ids are hex digits, times nanoseconds."""

    resource: dict[str, Any]
    name: str
    trace_id: str
    id: str
    parent: str | None
    kind: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[Event]
    links: list[tuple[str, str]]
    error: str | None

    @property
    def service(self) -> str:
        return str(self.resource["service.name"])


class Collector:
    """Takes spans, unless it is told to be slow, to answer something else, to hang, or to be away."""

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.raw: list[bytes] = []
        """The bodies as they were before they were compressed."""
        self.spans: list[Seen] = []
        self.requests = 0
        """How many began, whatever became of them."""
        self.seconds = 0.0
        """How long it takes to answer."""
        self.status = 200
        """What it answers; only at 200 it keeps what came."""
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._changed = threading.Condition()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def open(self) -> None:
        """Be there."""
        collector = self

        class Handler(_Handler):
            to = collector

        server = self._server = ThreadingHTTPServer((LOOPBACK, self.port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), name="collector", daemon=True).start()

    def close(self) -> None:
        """Be away; whoever connects is refused."""
        if self._server:
            self.let_go()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def hang(self) -> None:
        """From now on take what comes, and do not answer."""
        self._may_answer.clear()

    def let_go(self) -> None:
        """Answer again."""
        self._may_answer.set()

    def take(self, body: bytes) -> int:
        """Keep a request; the status to be answered."""
        with self._changed:
            self.requests += 1
            self._changed.notify_all()
        time.sleep(self.seconds)
        self._may_answer.wait()
        status = self.status
        if status == 200:
            with self._changed:
                self.raw.append(body)
                self.spans += _spans(body)
                self._changed.notify_all()
        return status

    def wait_for(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """What the condition gives, as soon as that is something; it is asked whenever something has come.

        Raises:
            TimeoutError: it did not come to that.
        """
        with self._changed:
            if found := self._changed.wait_for(condition, seconds):
                return found
        raise TimeoutError

    async def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """The same, while the loop goes on."""
        return await asyncio.to_thread(self.wait_for, condition, seconds)

    def trace(self, trace_id: str) -> list[Seen]:
        """All spans of a trace so far."""
        return [span for span in self.spans if span.trace_id == trace_id]

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    """A connection carries one request: after `close` there is none left."""

    to: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        right = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        self._answer(self.to.take(_DECODED[self.headers["Content-Encoding"]](body)) if right else 400)

    def do_GET(self) -> None:
        self._answer(200, str(len(self.to.spans)).encode())

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        # whoever asked may not have waited
        with suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests say what came."""


def _spans(body: bytes) -> list[Seen]:
    return [
        _span(span, _attributes(resource.resource.attributes))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _span(span: trace_pb2.Span, resource: dict[str, Any]) -> Seen:
    return Seen(
        resource,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex() or None,
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        [Event(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events],
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        span.status.message or "error" if span.status.code == trace_pb2.Status.STATUS_CODE_ERROR else None,
    )


def _attributes(pairs: Sequence[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


if __name__ == "__main__":
    with Collector(int(sys.argv[1])):
        threading.Event().wait()
