"""What stands before a server that speaks no TLS itself, and speaks it for it: the PostgreSQL of the tests has none."""

import asyncio
import ssl
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.host import LOOPBACK

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""What a client of PostgreSQL says first: https://www.postgresql.org/docs/current/protocol-message-formats.html."""


@contextmanager
def encrypted(certificate: tuple[Path, Path], upstream: int, *, asked_first: bool = True) -> Iterator[int]:
    """A port at which the server at `upstream` is reached over TLS, and in no other way.

    Args:
        certificate: that it shows, and the key.
        upstream: a port of this machine.
        asked_first: whether a client asks for TLS before it begins, as PostgreSQL's do.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["postgresql"])

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            if asked_first:
                if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                    return
                writer.write(b"S")
            await writer.start_tls(context)
            there, back = await asyncio.open_connection(LOOPBACK, upstream)
            await asyncio.gather(pump(reader, back), pump(there, writer))
        except (OSError, EOFError):
            return
        finally:
            writer.close()

    async def run() -> None:
        async with await asyncio.start_server(serve, LOOPBACK, 0) as server:
            ports.append(server.sockets[0].getsockname()[1])
            listening.set()
            await stopping.wait()

    ports: list[int] = []
    listening, stopping = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=[run()])
    thread.start()
    listening.wait()
    yield ports[0]
    loop.call_soon_threadsafe(stopping.set)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def pump(reader: StreamReader, writer: StreamWriter) -> None:
    """Hand over all that comes."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
