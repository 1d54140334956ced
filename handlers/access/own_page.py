"""Whether a page of our own asks: a browser sends what it keeps for us with a request of any page."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers


def from_own_page(headers: Headers) -> bool:
    """Whether a browser says that the request comes from a page of this service; no page can make it say so."""
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    if (origin := headers.get("origin")) is None:
        return "sec-fetch-site" in headers
    try:
        return urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False
