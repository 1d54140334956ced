"""Words that must not be found where they do not belong: one for every place in which somebody else can write."""

from collections.abc import Mapping
from uuid import UUID, uuid4

_AROUND = 150


class Canaries:
    """What was written, and where."""

    def __init__(self) -> None:
        self._places: dict[bytes, str] = {}

    def word(self, place: str) -> str:
        """A word for this place that is like no other."""
        return self.secret(place, f"canary{uuid4().hex}")

    def id(self, place: str) -> UUID:
        """An id that is nobody's business: whose an order is, or what of."""
        id_ = uuid4()
        self.secret(place, id_.hex)
        self.secret(place, str(id_))
        return id_

    def secret(self, place: str, text: str) -> str:
        """This very text, which is in that place."""
        self._places[text.lower().encode()] = place
        return text

    def found_in(self, sources: Mapping[str, bytes]) -> list[str]:
        """Which of them have come out, and where; each source is all that somebody can read there."""
        return sorted(
            f"{place}, in {source}: {_around(text.lower(), canary)!r}"
            for source, text in sources.items()
            for canary, place in self._places.items()
            if canary in text.lower()
        )


def _around(text: bytes, canary: bytes) -> bytes:
    at = text.index(canary)
    return text[max(0, at - _AROUND) : at + len(canary) + _AROUND]
