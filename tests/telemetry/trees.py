"""A trace as a tree: that it is one, what it looks like, and how to read it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tests.collector import Seen


def in_order(shapes: list[Any]) -> list[Any]:
    """The same, in the order of names: what is beside each other may overlap."""
    sorted_ = [shape if isinstance(shape, str) else (shape[0], in_order(shape[1])) for shape in shapes]
    return sorted(sorted_, key=str)


class Tree:
    """The spans of one trace, as far as they have come."""

    def __init__(self, spans: Sequence[Seen]) -> None:
        self.spans = sorted(spans, key=lambda span: (span.start, span.end))

    def broken(self) -> list[str]:
        """Whatever keeps it from being a tree."""
        ids = Counter(span.id for span in self.spans)
        roots = [span.name for span in self.spans if span.parent is None]
        said = [f"{len(roots)} roots: {roots}"] if len(roots) != 1 else []
        said += [f"{count} spans are called {id_}" for id_, count in ids.items() if count > 1]
        said += [f"{span.name} has no parent" for span in self.spans if span.parent and span.parent not in ids]
        said += [f"{span.name} ends before it begins" for span in self.spans if span.end < span.start]
        for span in self.spans:
            times = [span.start, *(event.time for event in span.events), span.end]
            said += [f"events of {span.name} are out of order"] if times != sorted(times) else []
        return said

    @property
    def root(self) -> Seen:
        (root,) = (span for span in self.spans if span.parent is None)
        return root

    def children(self, parent: Seen | None) -> list[Seen]:
        """In the order in which they began."""
        return [span for span in self.spans if span.parent == (parent.id if parent else None)]

    def named(self, name: str) -> Seen:
        """The only span of that name."""
        (found,) = self.all_named(name)
        return found

    def all_named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def shape(self, parent: Seen | None = None) -> list[Any]:
        """Nested: a name, or a name with what is under it; `in_order`."""
        shapes = []
        for span in self.children(parent):
            name = span.name if span.service == "order-service" else f"{span.service}: {span.name}"
            under = self.shape(span)
            shapes.append((name, under) if under else name)
        return in_order(shapes)

    def text(self) -> str:
        """As somebody would read it: indented, with times in milliseconds since the root began."""
        return "\n".join(self._lines(None, 0))

    def _lines(self, parent: Seen | None, depth: int) -> Iterator[str]:
        for span in self.children(parent):
            start, took = (span.start - self.root.start) / 1e6, (span.end - span.start) / 1e6
            service = "" if span.service == "order-service" else f"{span.service}: "
            mark = f"  !! {span.error}" if span.error else ""
            outcome = span.attributes.get("saga.outcome", "applied")
            mark += f"  ({outcome})" if outcome != "applied" else ""
            mark += "".join(f"  -> {trace[:8]}" for trace, _ in span.links)
            yield f"{start:9.1f} {took:8.1f} ms  {'  ' * depth}{service}{span.name}{mark}"
            for event in span.events:
                at, attempt = (event.time - self.root.start) / 1e6, event.attributes.get("saga.attempt")
                yield f"{at:9.1f}              {'  ' * depth}  * {event.name} {attempt or ''}"
            yield from self._lines(span, depth + 1)
