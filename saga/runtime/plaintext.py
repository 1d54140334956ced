"""Hosts that are spoken with in plain text, or without a look at their certificate: whoever sits between can listen."""

from sqlalchemy.engine import make_url
from yarl import URL

_VERIFIED = ("verify-ca", "verify-full")


def exposed_database(dsn: str) -> list[str]:
    """The hosts of PostgreSQL, if they are not verified; a socket is none."""
    url = make_url(dsn)
    if url.query.get("sslmode", "prefer") in _VERIFIED:
        return []
    if url.host:
        return [url.host]
    # several hosts, or the folder of a socket, stand behind the `?`
    listed = url.query.get("host", ())
    hosts = [listed] if isinstance(listed, str) else listed
    return [URL(f"//{one}").host or "" for one in hosts if not one.startswith("/")]


def exposed_broker(dsn: str) -> list[str]:
    """The host of RabbitMQ, if it is not verified."""
    url = URL(dsn)
    verified = url.scheme == "amqps" and url.query.get("no_verify_ssl", "0") == "0"
    return [] if verified else [url.host or ""]


def exposed_collector(endpoint: str | None) -> list[str]:
    """The host that traces go to, if over plain HTTP."""
    url = URL(endpoint or "")
    return [url.host or ""] if url.scheme == "http" else []
