"""What can go wrong on one machine, in words that say what to do."""


class LocalError(Exception):
    """Something on this machine is in the way; the message says what, and what to do about it."""


class PortTakenError(LocalError):
    """The port is in use by another program."""

    def __init__(self, port: int, what: str) -> None:
        super().__init__(
            f"Port {port} on 127.0.0.1, wanted for {what}, is in use by another program. "
            "Stop that program, or choose another port."
        )
        self.port = port


class ServerDiedError(LocalError):
    """A server ended by itself while it was starting."""

    def __init__(self, name: str, code: int | None, last_lines: str) -> None:
        super().__init__(f"{name} ended with exit code {code} before it was ready. Its last lines:\n{last_lines}")


class NotReadyError(LocalError):
    """A server runs, but did not become ready in time."""

    def __init__(self, name: str, seconds: float, last_lines: str) -> None:
        super().__init__(f"{name} was not ready after {seconds:.0f} s. Its last lines:\n{last_lines}")


class HomeInUseError(LocalError):
    """Another process uses this folder for its own server."""


class NotPrivateError(LocalError):
    """The server belongs to somebody else: it may be used, not started, stopped or killed."""


class NoRabbitMQError(LocalError):
    """There is no way to get a RabbitMQ on this machine."""


class NoChromiumError(LocalError):
    """There is no way to get a Chromium on this machine."""
