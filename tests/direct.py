"""A database that is asked directly, whatever stands between it and the service."""

import asyncio
from typing import Any

import asyncpg

_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)


class Direct:
    """Asks over one connection, which is opened when it is needed, and again when it was cut: a new one is dear.

    Args:
        dsn: the address, as the service is given it.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn.replace("+asyncpg", "")
        self._connection: asyncpg.Connection | None = None
        self._alone = asyncio.Lock()

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What the database says."""
        async with self._alone:
            if self._connection is not None:
                try:
                    return await self._fetch(query, *values)
                except _GONE:
                    self._connection.terminate()
            self._connection = await asyncpg.connect(self._dsn)
            return await self._fetch(query, *values)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.terminate()

    async def _fetch(self, query: str, *values: Any) -> list[dict[str, Any]]:
        assert self._connection is not None, "it was opened before"
        return [dict(row) for row in await self._connection.fetch(query, *values)]
