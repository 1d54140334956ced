"""A secret that all workers share and nobody sets: it is in the database, and read once by each process.

It tells a cookie that was made here from one that was made up, without a look at the database, and people apart in the
audit log without naming them. It opens nothing: what a cookie is good for stands in `sessions`.
"""

import hmac

from handlers.access import login_sessions as logins
from saga.runtime.database import Sessions


class ServerKey:
    """The secret.

    Args:
        sessions: where it is, each statement a transaction of its own.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._key: bytes | None = None

    async def digest(self, purpose: str, text: str) -> str:
        """A keyed digest of a text, in hexadecimal; the same text has another for another purpose.

        Raises:
            Exception: of `DATABASE_ERRORS`; it has not been read yet, and cannot be.
        """
        if self._key is None:
            async with self._sessions() as session:
                self._key = await logins.server_key(session)
        return hmac.digest(self._key, f"{purpose}\0{text}".encode("utf-8", "surrogatepass"), "sha256").hex()
