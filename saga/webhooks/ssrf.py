"""Which addresses webhooks may be sent to: https, and public addresses only. Pure: nothing is looked up here.

Two questions are asked, at registration and again at every connection: is the URL one of those that can be meant in one
way only (`destination`), and is each address that its name stands for public (`is_public`). One reader reads URLs, and
what it has read is connected to: there are no two that could disagree about a host.

The exceptions are named by whoever runs the service: `WEBHOOK_ALLOW`, a host and a port as they stand in the URL, and
`WEBHOOK_DENY`, networks that are never called, whatever allows it.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from saga.errors import RefusedError

Address: TypeAlias = IPv4Address | IPv6Address
Allowed: TypeAlias = frozenset[tuple[str, int]]
"""Hosts and ports that may be reached over http too, and wherever they are."""
Denied: TypeAlias = tuple[IPv4Network | IPv6Network, ...]
"""Networks that are never called."""

LONGEST_URL = 2048
_HTTPS = 443
_DEFAULT_PORTS = {"http": 80, "https": _HTTPS}
_UNPRIVILEGED = 1024
_HIGHEST_PORT = 65535
_LONGEST_NAME = 253

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[0-9a-z.-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/(?:[\w.~!$&'()*+,;=:@/-]|%[0-9a-f]{2})*)?(?P<query>\?(?:[\w.~!$&'()*+,;=:@/?-]|%[0-9a-f]{2})*)?",
    re.ASCII | re.IGNORECASE,
)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?")
"""The last label begins with a letter: where it is a number, some would read the whole as an IPv4 address."""
_NEVER_PUBLIC = frozenset(
    ["alt", "arpa", "corp", "example", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain",
     "localhost", "onion", "private", "test"]
)  # fmt: skip
"""Last labels that the public DNS does not have, and that networks use for their own: RFC 6761, RFC 6762, RFC 9476, and
what ICANN keeps free."""

# https://www.iana.org/assignments/iana-ipv4-special-registry and its sibling for IPv6
_NOT_PUBLIC = tuple(
    IPv4Network(network)
    for network in [
        "0.0.0.0/8",  # "this network"; many systems connect to themselves
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public number, and inside Azure the host of the machine
        "169.254.0.0/16",  # link-local: the metadata of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation, as the next but four and but five
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    ]
)
_HANDED_OUT = IPv6Network("2000::/3")
"""All that is public in IPv6 is in here. Outside are loopback, mapped and compatible IPv4, NAT64, unique local,
link-local, site-local, multicast, and what nobody has yet."""
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in [
        "2001::/23",  # protocols: Teredo, which has an IPv4 address within, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address within
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    ]
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_EMBEDDING = (_MAPPED, IPv6Network("::/96"), IPv6Network("64:ff9b::/96"))
"""IPv6 addresses whose last 32 bits are an IPv4 address: mapped, compatible, NAT64."""


class AddressRefusedError(RefusedError):
    """Webhooks are not sent to this address; the message says what is asked of one, and quotes nothing."""

    reason = "address_refused"
    quotes = False


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL, read."""

    scheme: str
    host: str
    """A name in lower case, or an address in its shortest form without brackets."""
    port: int
    target: str
    """Path and query."""

    @property
    def authority(self) -> str:
        """As it is named to the receiver."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def destination(url: str, allowed: Allowed) -> Destination:
    """Read the URL of a receiver.

    Raises:
        AddressRefusedError: it may not be sent to, whatever its name stands for, or could be read in more than one way.
    """
    if len(url) > LONGEST_URL:
        raise AddressRefusedError(f"must have at most {LONGEST_URL:,} characters")
    match = _URL.fullmatch(url)
    if match is None:
        raise AddressRefusedError(
            "must be https://name/path or https://name:port/path, perhaps with a query: ASCII only, with international"
            " names as xn--…, without user, password, fragment, and blanks"
        )
    scheme = match["scheme"].lower()
    host = _host(match["host"])
    port = int(match["port"] or _DEFAULT_PORTS[scheme])
    if (host, port) not in allowed:
        if scheme != "https":
            raise AddressRefusedError("must begin with https://")
        if port != _HTTPS and not _UNPRIVILEGED <= port <= _HIGHEST_PORT:
            raise AddressRefusedError(f"must have port {_HTTPS}, or one from {_UNPRIVILEGED} to {_HIGHEST_PORT}")
        _require_public(host)
    return Destination(scheme, host, port, (match["path"] or "/") + (match["query"] or ""))


def is_public(address: Address) -> bool:
    """Whether this is an address that everybody could reach, and so nobody is reached through us alone.

    The list is ours, and Python's has to agree: it differs from release to release.
    """
    if isinstance(address, IPv4Address):
        listed = any(address in network for network in _NOT_PUBLIC)
    else:
        listed = (
            address.scope_id is not None
            or address not in _HANDED_OUT
            or any(address in network for network in _NOT_PUBLIC_V6)
        )
    return not listed and address.is_global and not address.is_multicast


def is_denied(address: Address, denied: Denied) -> bool:
    """Whether this address is in one of these networks, be it as the IPv4 address that an IPv6 address contains."""
    return any(form in network for form in (address, *_within(address)) for network in denied)


def _within(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address may lead to."""
    if isinstance(address, IPv4Address):
        return []
    last = [IPv4Address(int(address) & 0xFFFF_FFFF)] if any(address in network for network in _EMBEDDING) else []
    return [*last, *(one for one in (address.sixtofour, *(address.teredo or ())) if one)]


def literal(host: str) -> Address | None:
    """The address that a host is; None where it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def allowances(text: str) -> Allowed:
    """Read `WEBHOOK_ALLOW`: `host:port`, blank-separated.

    Raises:
        ValueError: one of them is not that.
    """
    return frozenset(_allowance(one) for one in text.split())


def denials(text: str) -> Denied:
    """Read `WEBHOOK_DENY`: networks in CIDR notation, blank-separated.

    Raises:
        ValueError: one of them is not that.
    """
    try:
        networks = [ip_network(one) for one in text.split()]
    except ValueError:
        raise ValueError(
            "must be networks, blank-separated, as 203.0.113.0/24 or 2001:db8::/32, with no bit set behind the prefix"
        ) from None
    return tuple(_unmapped(network) for network in networks)


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        bits = network.prefixlen - _MAPPED.prefixlen
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, bits))
    return network


def _allowance(text: str) -> tuple[str, int]:
    match = _URL.fullmatch(f"http://{text}")
    wrong = ValueError("must be host:port for each, blank-separated, as localhost:8000 or [::1]:8000")
    if match is None or not 1 <= int(match["port"] or 0) <= _HIGHEST_PORT or match["path"] or match["query"]:
        raise wrong
    try:
        return _host(match["host"]), int(match["port"])
    except AddressRefusedError:
        raise wrong from None


def _host(text: str) -> str:
    """A host in the one form that we know it by."""
    host = text.lower()
    if host.startswith("["):
        address = literal(host[1:-1])
        if not isinstance(address, IPv6Address):
            raise AddressRefusedError("must have an IPv6 address between its brackets")
        return str(address)
    if isinstance(literal(host), IPv4Address):
        return host
    if len(host) > _LONGEST_NAME or _NAME.fullmatch(host) is None:
        raise AddressRefusedError("must name a host: a name of the DNS, or an address of four decimal numbers")
    return host


def _require_public(host: str) -> None:
    address = literal(host)
    if address is None:
        _, dot, last = host.rpartition(".")
        if not dot or last in _NEVER_PUBLIC:
            raise AddressRefusedError("must have a name of the public DNS")
    elif not is_public(address):
        raise AddressRefusedError("must have a public address")
