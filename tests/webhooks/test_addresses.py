"""What webhooks may be sent to. Every hostile URL is refused at registration and again when it is sent to.

The guard is tried with canaries listening on the loopback address and a network that leads nowhere else: were it
broken, the canaries would see a connection, and nobody else would.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from ipaddress import ip_address

import pytest

from saga.webhooks.client import Sender
from saga.webhooks.ssrf import (
    Address,
    AddressRefusedError,
    allowances,
    denials,
    destination,
    is_denied,
    is_public,
)
from tests.webhooks.receiving import NOBODY_TRUSTED, PUBLIC, PUBLIC_V6, Loopback, Names

ADDRESSES = [
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255",
    "100.64.0.1", "100.100.100.200", "100.127.255.255", "168.63.129.16", "169.254.169.254", "169.254.170.2",
    "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:93.184.216.34", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1",
    "2002:7f00:1::", "2002:a00:1::1", "2620:4f:8000::1", "3fff::1", "4000::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "feff::1", "ff02::1", "ff0e::1",
]  # fmt: skip
"""None of them is public; some have one that is within."""

URLS = [
    # other notations of 127.0.0.1
    "https://2130706433:{port}/", "https://0x7f000001:{port}/", "https://017700000001:{port}/",
    "https://0177.0.0.1:{port}/", "https://0x7f.0.0.1:{port}/", "https://0x7f.1:{port}/", "https://127.1:{port}/",
    "https://127.0.1:{port}/", "https://127.000.000.001:{port}/", "https://127.0.0.01:{port}/",
    "https://127.0.0.1.:{port}/", "https://127.0.0.1..:{port}/", "https://0:{port}/", "https://00000000:{port}/",
    "https://4294967296:{port}/", "https://127.0.0.1.0x0:{port}/", "https://1.2.3.4.5:{port}/",
    "https://１２７.０.０.１:{port}/", "https://①②⑦.⓪.⓪.①:{port}/", "https://127。0。0。1:{port}/",  # noqa: RUF001
    "https://127.0.0.1%2e:{port}/", "https://%31%32%37.0.0.1:{port}/", "https://127%2E0%2E0%2E1:{port}/",
    "https://[127.0.0.1]:{port}/", "https://[::1:{port}/", "https://::1:{port}/", "https://[::1%25lo]:{port}/",
    "https://[::1%lo]:{port}/", "https://[fe80::1%25eth0]:{port}/", "https://[v1.::1]:{port}/", "https://[]:{port}/",
    "https://[0:0:0:0:0:0:0:1]:{port}/", "https://[0000::0001]:{port}/", "https://[::FFFF:127.0.0.1]:{port}/",
    # names of this machine and its network
    "https://localhost:{port}/", "https://LOCALHOST:{port}/", "https://localhost.:{port}/",
    "https://a.localhost:{port}/", "https://localhost.localdomain:{port}/", "https://printer.local:{port}/",
    "https://metadata.google.internal:{port}/", "https://router.home.arpa:{port}/", "https://nas.lan:{port}/",
    "https://intranet:{port}/", "https://kubernetes.default:{port}/", "https://ｌｏｃａｌｈｏｓｔ:{port}/",  # noqa: RUF001
    "https://lo\u00adcalhost:{port}/", "https://localhost\u200b:{port}/", "https://ⓛocalhost:{port}/",
    # what two readers could read in two ways
    "https://good.example.com@127.0.0.1:{port}/", "https://user:password@good.example.com/", "https://@127.0.0.1/",
    "https://127.0.0.1:{port}\\@good.example.com/", "https://good.example.com\\@127.0.0.1:{port}/",
    "https:\\\\127.0.0.1:{port}/", "https:/\\127.0.0.1:{port}/", "https:127.0.0.1:{port}/", "https:/127.0.0.1/",
    "https:///127.0.0.1:{port}/", "https://good.example.com#@127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "https://good.example.com:{port}#", "https://127.0.0.1:{port}#.example.com/", "https://good.example.com/#x",
    "https://good.example.com%00.127.0.0.1/", "https://good.example.com%23@127.0.0.1/", "https://good.example.com:@a/",
    " https://127.0.0.1:{port}/", "https://127.0.0.1:{port}/ ", "https://127.0.0.1 :{port}/", "https://\t127.0.0.1/",
    "ht\ntps://127.0.0.1:{port}/", "https://good.example.com/\r\nHost: localhost\r\n\r\n", "https://good.example.com/\n",
    "https://good.example.com/\x00", "https://good.example.com/\x7f", "https://good.example.com/\ud800",
    "https://good.example.com/a b", "https://good.example.com/%zz", "https://good.example.com/ü",
    # what is no host, no port, no scheme
    "", "https://", "https:///", "https://:{port}/", "https://.:{port}/", "https://.example.com/",
    "https://good..example.com/", "https://-a.example.com/", "https://a-.example.com/", "https://a_b.example.com/",
    "https://*.example.com/", "https://good.example.com./", "https://good.example.0x1/", "https://good.example.1/",
    "https://" + "a" * 64 + ".example.com/", "https://" + "a." * 130 + "com/", "https://bücher.example.com/",
    "https://good.example.com:/", "https://good.example.com:0/", "https://good.example.com:22/",
    "https://good.example.com:25/", "https://good.example.com:80/", "https://good.example.com:65536/",
    "https://good.example.com:99999999999/", "https://good.example.com:-1/", "https://good.example.com:4４3/",  # noqa: RUF001
    "https://good.example.com:443:443/", "http://good.example.com/", "http://good.example.com:443/",
    "http://good.example.com:8080/", "http://127.0.0.1:{port}/",
    "http://[::1]:{port}/", "HTTP://127.0.0.1:{port}/", "ftp://127.0.0.1:{port}/", "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x", "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "ws://127.0.0.1:{port}/", "wss://good.example.com/", "javascript:alert(1)", "data:text/html,x", "about:blank",
    "jar:https://127.0.0.1!/", "dict://127.0.0.1:{port}/", "ldap://127.0.0.1:{port}/", "127.0.0.1:{port}",
    "good.example.com", "https://good.example.com/" + "a" * 2048,
]  # fmt: skip

HOSTILE = [
    *URLS,
    *(f"https://{f'[{address}]' if ':' in address else address}:{{port}}/" for address in ADDRESSES),
    *(f"https://a{number}.attacker.com:{{port}}/" for number, _ in enumerate(ADDRESSES)),
]
"""`{port}` is one that the canaries listen at."""
NAMES = {"good.example.com": PUBLIC} | {f"a{number}.attacker.com": address for number, address in enumerate(ADDRESSES)}


async def resolve(name: str) -> list[Address]:
    """As a resolver would that takes any notation for this machine."""
    return [ip_address(NAMES.get(name, "127.0.0.1"))]


@pytest.fixture(scope="module")
def canaries() -> Iterator[list[socket.socket]]:
    """Listening on loopback addresses, at the port of the first and each at another."""
    with ExitStack() as stack:
        listening: list[socket.socket] = []
        for host in ("127.0.0.1", "127.0.0.2", "::1"):
            for port in (port_of(listening) if listening else 0, 0):
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                canary = stack.enter_context(socket.create_server((host, port), family=family))
                canary.setblocking(False)
                listening.append(canary)
        yield listening


def port_of(canaries: list[socket.socket]) -> int:
    port: int = canaries[0].getsockname()[1]
    return port


def connected(canary: socket.socket) -> bool:
    try:
        connection, _ = canary.accept()
    except BlockingIOError:
        return False
    connection.close()
    return True


def test_there_are_many_hostile_urls() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) > 90


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_url_is_neither_registered_nor_connected_to(
    canaries: list[socket.socket], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    url = url.replace("{port}", str(port_of(canaries)))
    # a canary never answers
    monkeypatch.setattr("saga.webhooks.client.WITHIN", timedelta(seconds=0.3))
    network = Loopback()
    sender = Sender(frozenset(), resolve=resolve, network=network, trust=NOBODY_TRUSTED)
    with pytest.raises(AddressRefusedError) as refused:
        await sender.admit(url, "key:shop")
    answer = await sender.send(url, {}, b"{}")
    await sender.close()
    assert answer.status is None
    assert answer.error == f"the address is not allowed: it {refused.value}"
    assert answer.refused
    assert len(url) < len("https://a") or url not in answer.error
    assert network.attempts == []
    assert [connected(canary) for canary in canaries] == [False] * len(canaries)


def test_the_canaries_would_see_a_connection(canaries: list[socket.socket]) -> None:
    for canary in canaries:
        with socket.create_connection(canary.getsockname()[:2]):
            assert connected(canary)


@pytest.mark.parametrize("name", ["localhost", "a.localhost", "localhost.localdomain", "printer.local", "nas.lan",
    "metadata.google.internal", "router.home.arpa", "intranet", "kubernetes", "x.onion", "x.test"])  # fmt: skip
def test_a_name_of_one_network_is_not_even_looked_up(name: str) -> None:
    with pytest.raises(AddressRefusedError, match="public DNS"):
        destination(f"https://{name}/", frozenset())


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_that_not_everybody_can_reach_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ["fe80::1%eth0", "2606:4700::1111%1"])
def test_an_address_of_one_network_card_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", [PUBLIC, PUBLIC_V6, "8.8.8.8", "1.0.0.1", "223.255.255.254", "100.63.255.255",
    "100.128.0.1", "172.32.0.1", "2001:4860:4860::8888", "2a00:1450:4001::1"])  # fmt: skip
def test_the_addresses_of_the_internet_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    ("url", "known_as"),
    [
        ("https://hooks.example.com", "https://hooks.example.com/"),
        ("HTTPS://Hooks.Example.COM:443/Orders?a=1&b=%20", "https://hooks.example.com/Orders?a=1&b=%20"),
        ("https://hooks.example.com:8443?x", "https://hooks.example.com:8443/?x"),
        (
            "https://xn--bcher-kva.example.com/a;b=(c)/@~!$'*+,=:",
            "https://xn--bcher-kva.example.com/a;b=(c)/@~!$'*+,=:",
        ),
        (f"https://{PUBLIC}/", f"https://{PUBLIC}/"),
        ("https://[2606:2800:0220:0001:0248:1893:25C8:1946]:8443/", f"https://[{PUBLIC_V6}]:8443/"),
        ("https://" + "a" * 63 + ".example.com/", "https://" + "a" * 63 + ".example.com/"),
        ("https://h.example.com/" + "a" * 2026, "https://h.example.com/" + "a" * 2026),
    ],
)
def test_a_good_url_is_known_in_one_form(url: str, known_as: str) -> None:
    read = destination(url, frozenset())
    assert str(read) == known_as
    assert destination(known_as, frozenset()) == read


ALLOWED = allowances(" localhost:8000  127.0.0.1:8001\t[::1]:8002 receiver:80 ")


@pytest.mark.parametrize("url", ["http://localhost:8000/x", "https://LOCALHOST:8000/", "http://127.0.0.1:8001/",
    "http://[0:0::1]:8002/", "http://receiver/"])  # fmt: skip
def test_what_is_allowed_may_be_anywhere_and_without_tls(url: str) -> None:
    assert destination(url, ALLOWED)


@pytest.mark.parametrize("url", ["http://localhost:8001/", "http://127.0.0.1:8000/", "http://127.0.0.2:8001/",
    "http://a.localhost:8000/", "http://localhost/", "https://receiver/", "http://127.1:8001/", "http://[::1]:8001/",
    "http://x@localhost:8000/", "http://localhost:8000/#x", "http://[::ffff:127.0.0.1]:8001/",
    "ftp://localhost:8000/"])  # fmt: skip
def test_what_is_allowed_is_that_very_host_and_port(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        destination(url, ALLOWED)


@pytest.mark.parametrize("text", ["localhost", "localhost:", "localhost:0", "localhost:65536", "localhost:80/",
    "localhost:80?x", "http://localhost:80", "*:80", "*.example.com:80", "127.1:80", "2130706433:80", "::1:80",
    "a@b:80", "localhost:80,127.0.0.1:80", "10.0.0.0/8", "localhost:８０", "bücher:80"])  # fmt: skip  # noqa: RUF001
def test_an_exception_names_one_host_and_one_port(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be host:port for each"):
        allowances(f"good:1 {text}")


DENIED = denials("93.184.216.0/24 2606:2800::/32 ::ffff:198.41.0.0/112")


@pytest.mark.parametrize(
    "text",
    ["93.184.216.34", "::ffff:93.184.216.34", "::93.184.216.34", "64:ff9b::93.184.216.34", "2002:5db8:d822::1",
     "2001:0:5db8:d822::", "2001:0:101:101::a247:27dd", "2606:2800::1", "2606:2800::1%eth0", "198.41.0.4",
     "::ffff:198.41.0.4"],
)  # fmt: skip
def test_an_address_of_a_denied_network_is_denied_in_every_form(text: str) -> None:
    assert is_denied(ip_address(text), DENIED)


@pytest.mark.parametrize("text", ["93.184.217.34", "::ffff:93.184.217.34", "2606:2801::1", "198.42.0.4"])
def test_other_addresses_are_not_denied(text: str) -> None:
    assert not is_denied(ip_address(text), DENIED)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "x", "10.0.0.0/8,11.0.0.0/8", "fe80::%eth0/64x"])
def test_what_is_denied_is_networks(text: str) -> None:
    with pytest.raises(ValueError, match="must be networks"):
        denials(text)


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("https://93.184.216.34/", []),
        ("https://hooks.shop.com/", ["93.184.216.34"]),
        ("https://hooks.shop.com/", ["8.8.8.8", "2606:2800::1"]),
        ("http://hooks.shop.com:8000/", ["93.184.216.34"]),
        ("http://[::ffff:93.184.216.34]:8000/", []),
    ],
)
async def test_a_denied_network_is_neither_registered_nor_connected_to_whatever_allows_it(
    url: str, answer: list[str]
) -> None:
    allowed = allowances("hooks.shop.com:8000 [::ffff:93.184.216.34]:8000")
    network = Loopback()
    sender = Sender(allowed, DENIED, resolve=Names({"hooks.shop.com": [answer]}), network=network, trust=NOBODY_TRUSTED)
    with pytest.raises(AddressRefusedError, match="this service never calls"):
        await sender.admit(url, "key:shop")
    sent = await sender.send(url, {}, b"{}")
    await sender.close()
    assert (sent.status, sent.refused) == (None, True)
    assert network.attempts == []
