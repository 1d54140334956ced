"""Pages as a browser takes them apart, and what has to hold for every one of them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from typing import Self

import httpx2

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_BLOCKS = {"dd", "div", "dt", "h1", "h2", "h3", "li", "option", "p", "td", "th", "tr"}
"""Where words end."""
_VOID = {"br", "hr", "img", "input", "link", "meta"}
_ADDRESSES = {"href", "src", "action", "formaction", "data-follow", "poster", "srcset", "ping", "data"}
_REFERENCES = {"aria-labelledby", "aria-describedby", "for"}
_HEADINGS = ("h1", "h2", "h3")


@dataclass
class Element:
    """One element, with all that is in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, tag: str | None = None, **attributes: str) -> list["Element"]:
        """Those within it that are like this; `class_` names one class of several."""
        class_ = attributes.pop("class_", None)
        wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
        found = []
        for child in self.children:
            same = tag in (None, child.tag) and wanted.items() <= child.attributes.items()
            if same and (class_ is None or class_ in child.classes):
                found.append(child)
            found += child.all(tag, **attributes, **({"class_": class_} if class_ else {}))
        return found

    def one(self, tag: str | None = None, **attributes: str) -> "Element":
        (found,) = self.all(tag, **attributes)
        return found

    def having(self, name: str) -> list["Element"]:
        """Those within it that have this attribute."""
        return [element for element in self.all() if name in element.attributes]

    def column(self, label: str) -> list[str]:
        """What stands in the cells under this head."""
        return [cell.words for cell in self.all(data_label=label)]

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    @property
    def words(self) -> str:
        """Its text with single spaces."""
        return " ".join(self.text.split())


class _Reader(HTMLParser):
    """Insists on what a browser would forgive."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("document", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        if tag in _BLOCKS:
            self.handle_data(" ")
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> within <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def close(self) -> None:
        super().close()
        assert self._open == [self.root], f"<{self._open[-1].tag}> is not closed"


class Page(Element):
    """A page that is as every page has to be."""

    @classmethod
    def of(cls, response: httpx2.Response, status: int = 200, *, elsewhere: tuple[str, ...] = ()) -> Self:
        """Read an answer.

        Args:
            response: the answer.
            status: that it must have.
            elsewhere: the addresses of other places that it may link to.
        """
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.headers["content-security-policy"] == POLICY
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "same-origin"
        assert response.text.startswith("<!doctype html>")
        reader = _Reader()
        reader.feed(response.text)
        reader.close()
        page = cls("document", {}, reader.root.text, reader.root.children)
        page._check(elsewhere)
        return page

    def _check(self, elsewhere: tuple[str, ...]) -> None:
        assert self.one("html").attributes["lang"] == "en"
        assert self.one("head").one("title").words
        assert self.one("h1").words
        assert not self.all("style"), "a style in the page"
        ids = [element.attributes["id"] for element in self.all() if "id" in element.attributes]
        assert len(set(ids)) == len(ids), "an id twice"
        for element in self.all():
            self._check_element(element, set(ids), elsewhere)
        levels = [_HEADINGS.index(element.tag) for element in self.all() if element.tag in _HEADINGS]
        assert all(level <= before + 1 for before, level in pairwise(levels)), "a heading skipped"
        for head in self.all("th"):
            assert head.attributes.get("scope") in ("col", "row"), head

    def _check_element(self, element: Element, ids: set[str], elsewhere: tuple[str, ...]) -> None:
        for name, value in element.attributes.items():
            assert not name.startswith("on"), f"a script in {name}"
            assert name != "style", "a style in an attribute"
            if name in _ADDRESSES and value not in elsewhere:
                assert not value.startswith("/"), f"{value} does not work behind a prefix"
                assert ":" not in value.split("?")[0], f"{value} leads elsewhere"
            if name in _REFERENCES:
                assert set(value.split()) <= ids, f"{name}={value} names nothing"
            if value.startswith("#"):
                assert value[1:] in ids, f"{value} leads nowhere"
        if element.tag == "script":
            assert not element.text
            assert element.attributes["src"].endswith(".js")
        if element.tag in ("input", "select", "textarea"):
            labelled = {label.attributes.get("for") for label in self.all("label")}
            within = [field for label in self.all("label") for field in label.all()]
            hidden = element.attributes.get("type") == "hidden"
            assert hidden or element in within or element.attributes["id"] in labelled, element
        if element.tag in ("button", "a"):
            assert element.words or element.attributes.get("aria-label"), element
