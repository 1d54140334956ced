"""Where PostgreSQL and RabbitMQ are: what an address must say, seen to before anybody connects by it."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from yarl import URL

from saga.tls import require_certificates, require_file

_HEARTBEAT = 5
"""Seconds. RabbitMQ takes back what a consumer holds that has been silent for two to three times as long: until then
those orders stand still. The client library's own minute is long for who waits."""
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_ROOT_CERTIFICATE = Path("~/.postgresql/root.crt")
"""Where libpq, and so our driver, looks for a CA of which nothing is said."""


def postgres_dsn(address: str) -> str:
    """The address of a database as SQLAlchemy takes it, password included.

    Raises:
        ValueError: it cannot be meant; the message does not repeat it.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in ("postgresql", "postgres", "postgresql+asyncpg"):
        raise ValueError("must begin with postgresql+asyncpg:// or postgresql://, and be an address")
    if not (url.host or url.query.get("host")) or not url.database:
        raise ValueError("must name a host and a database: postgresql+asyncpg://user:password@host/database")
    # the name that libpq and everybody else has for it
    query = {"sslmode" if name == "ssl" else name: option for name, option in url.query.items()}
    _require_tls_that_can_be(query)
    return url.set(drivername="postgresql+asyncpg", query=query).render_as_string(hide_password=False)


def amqp_dsn(address: str) -> str:
    """The address of a broker, with how often each side has to say something.

    Raises:
        ValueError: it cannot be meant; the message does not repeat it.
    """
    try:
        url = URL(address)
        right = url.scheme in ("amqp", "amqps") and bool(url.host) and url.port != 0
    except ValueError:
        right = False
    if not right:
        raise ValueError("must begin with amqp:// or amqps://, and name a host: amqp://user:password@host:5672/vhost")
    if url.scheme == "amqps" and "cafile" in url.query:
        require_certificates("cafile", url.query["cafile"])
    for name in ("certfile", "keyfile"):
        if name in url.query:
            require_file(name, url.query[name])
    return str(url if "heartbeat" in url.query else url.update_query(heartbeat=_HEARTBEAT))


def amqp_address(host: str, port: int, user: str, password: str, vhost: str) -> str:
    """The address of a broker that is told in parts."""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"amqp://{login}@{host}:{port}/{quote(vhost, safe='')}"


def _require_tls_that_can_be(query: Mapping[str, str | tuple[str, ...]]) -> None:
    """See that what is said about TLS can be meant: the driver looks at it with each connection, and too late."""
    tls = {name: option for name, option in query.items() if isinstance(option, str)}
    mode = tls.get("sslmode", "prefer")
    if mode not in _SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(_SSL_MODES)}")
    if "sslrootcert" in tls:
        require_certificates("sslrootcert", tls["sslrootcert"])
    elif mode.startswith("verify") and not ("PGSSLROOTCERT" in os.environ or _ROOT_CERTIFICATE.expanduser().exists()):
        raise ValueError(f"sslmode={mode} needs sslrootcert=, a file with the certificate of the CA that is trusted")
    for name in ("sslcert", "sslkey", "sslcrl"):
        if name in tls:
            require_file(name, tls[name])
