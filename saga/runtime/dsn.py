"""Where PostgreSQL and RabbitMQ are: what an address must say, seen to before anybody connects by it."""

import os
import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from yarl import URL

from saga.runtime.tls import require_certificates, require_file

_HEARTBEAT = 5
"""Seconds. RabbitMQ takes back what a consumer holds that has been silent for two to three times as long: until then
those orders stand still. The client library's own minute is long for who waits."""
_HOST = re.compile(r"[A-Za-z0-9_.-]+")
_LAST_PORT = 65_535
_SAID_BESIDE = (
    *("host", "port", "passfile", "target_session_attrs", "krbsrvname"),
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
)
"""What may follow the `?` in the address of a database. The rest of libpq's is the service's own to say."""
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
    if url.port is not None and not 0 < url.port <= _LAST_PORT:
        raise ValueError(f"must name a port between 1 and {_LAST_PORT}, or none")
    # `sslmode` is what libpq and everybody else calls it
    query = {"sslmode" if name == "ssl" else name: option for name, option in url.query.items()}
    for name, option in query.items():
        if name not in _SAID_BESIDE or (isinstance(option, tuple) and name != "host"):
            raise ValueError(f"must not have ?{name}= in it, or more than one: it may have {', '.join(_SAID_BESIDE)}")
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
    if not url.query.get("heartbeat", "0").isdecimal():
        raise ValueError("heartbeat must be a number of seconds")
    if url.scheme == "amqps" and "cafile" in url.query:
        require_certificates("cafile", url.query["cafile"])
    for name in ("certfile", "keyfile"):
        if name in url.query:
            require_file(name, url.query[name])
    if not url.user and "auth" not in url.query:
        # the client library would be `guest`, whose password everybody knows
        raise ValueError("must name a user: amqp://user:password@host:5672/vhost, or amqps://host/?auth=external")
    return str(url if "heartbeat" in url.query else url.update_query(heartbeat=_HEARTBEAT))


def host_in_address(host: str) -> str:
    """A host as it stands in an address.

    Raises:
        ValueError: it is neither a name nor an IP address.
    """
    try:
        return f"[{host}]" if isinstance(ip_address(host), IPv6Address) else host
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ValueError("must be a name or an IP address, and nothing else: the port is RABBITMQ_PORT") from None
    return host


def amqp_address(host: str, port: int, user: str, password: str, vhost: str) -> str:
    """The address of a broker that is told in parts; the host as `host_in_address` gives it."""
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
