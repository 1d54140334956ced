"""Where browsers reach this service, and whether a page of its own asks.

A browser sends what it keeps for us with a request of any page, and says where that page is from; no page can make it
say otherwise.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope
from yarl import URL

from handlers.access.errors import forbidden
from handlers.access.origin import is_loopback


class Site:
    """The service, as browsers know it.

    Args:
        public_url: `https://…` under which they reach it; None: whatever they say they ask, as on one's own machine.
    """

    def __init__(self, public_url: str | None = None) -> None:
        url = private_url(public_url) if public_url else None
        self._scheme = url.scheme if url else None
        port = "" if url is None or url.is_default_port() else f":{url.port}"
        self._authority = f"{url.host_subcomponent}{port}".lower() if url else None

    def over_tls(self, scope: Scope) -> bool:
        """Whether browsers speak TLS to it. Without a PUBLIC_URL that is what the server has seen of the connection."""
        return (self._scheme or scope["scheme"]) in ("https", "wss")

    def require_tls(self, headers: Headers) -> None:
        """Refuse what came in plain text over a network, where this service is reached over TLS.

        Raises:
            ProblemError: 403, a proxy says so.
        """
        if self._scheme == "https" and headers.get("x-forwarded-proto", "https").partition(",")[0].strip() == "http":
            raise forbidden("This came over plain HTTP. Ask over https://, and exchange the credential: others saw it.")

    def require_name(self, headers: Headers) -> None:
        """Refuse a browser that asks under another name.

        Raises:
            ProblemError: 403.
        """
        if self._authority and headers.get("host", "").lower() != self._authority:
            raise forbidden(f"Browsers reach this service at {self._scheme}://{self._authority} alone (PUBLIC_URL).")

    def sent(self, headers: Headers) -> bool:
        """Whether a browser says that the request comes from a page of this service."""
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return False
        if "origin" not in headers:
            return "sec-fetch-site" in headers
        return self._is_own(headers)

    def require_no_other_page(self, headers: Headers) -> None:
        """Refuse a page from elsewhere; a program, which says nothing of the kind, passes.

        Raises:
            ProblemError: 403.
        """
        if "origin" in headers and not self._is_own(headers):
            raise forbidden("A page from elsewhere may not follow orders.")

    def _is_own(self, headers: Headers) -> bool:
        try:
            origin = urlsplit(headers["origin"].lower())
        except ValueError:
            return False
        if self._authority:
            return (origin.scheme, origin.netloc) == (self._scheme, self._authority)
        return bool(origin.netloc) and origin.netloc == headers.get("host", "").lower()


def private_url(address: str) -> URL:
    """An address that nobody can listen to on the way.

    Raises:
        ValueError: it is none. It is not quoted.
    """
    try:
        url = URL(address)
        right = bool(url.host) and (url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host or "")))
    except ValueError:
        right = False
    if not right or url.user or url.password:
        raise ValueError("must begin with https://, or with http:// on this machine, and have no password in it")
    return url
