"""The state diagram as an SVG. Where things stand is laid out by hand here; what leads where comes from the table.

For whoever colours the way that a saga has taken: a position is `<g id="position-charging" class="saga-position …">`, a
way from one to the next `<g id="edge-charging-completed" class="saga-edge …" data-signals="…">`. The ids are the
positions' names and do not change. Colours stand in classes alone and are readable on light and on dark ground.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from models.states import Position

LEFT, TOP, WIDTH, HEIGHT = -20, 0, 1260, 712
_STYLE = """
.saga-diagram text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 12px }
.saga-position rect { fill: #e4f1f1; stroke: #25838c; stroke-width: 1.6 }
.saga-position.back rect { fill: #fdf1da; stroke: #c07f14 }
.saga-position.late rect { fill: #fdf1da; stroke: #c07f14; stroke-dasharray: 5 3 }
.saga-position.completed rect { fill: #dcf3e1; stroke: #2b8a4b; stroke-width: 2.6 }
.saga-position.undone rect { fill: #fbe4e2; stroke: #c4473c; stroke-width: 2.6 }
.saga-position text { fill: #14262b; text-anchor: middle }
.saga-position .saga-name { font-size: 15px; font-weight: 600 }
.saga-position.late text { font-size: 11px }
.saga-position.late .saga-name { font-size: 12px }
.saga-edge path { fill: none; stroke: #7b8892; stroke-width: 1.6 }
.saga-edge text, .saga-legend { fill: #7b8892 }
.saga-arrow { fill: #7b8892 }
""".strip()


class Place(NamedTuple):
    """A position's box: its middle, its size, its class."""

    x: int
    y: int
    kind: str
    width: int = 200
    height: int = 74
    side: int = -1
    """Where the arrow back to itself is: -1 for left, 1 for right."""


class Way(NamedTuple):
    """An arrow's path, and where its label stands: the first line's base and its anchor."""

    path: str
    x: int
    y: int
    anchor: str = "middle"


P = Position
_PLACES: dict[Position, Place] = {
    P.VALIDATING: Place(130, 80, "forward"),
    P.RESERVING: Place(460, 80, "forward"),
    P.CHARGING: Place(790, 80, "forward"),
    P.COMPLETED: Place(1120, 80, "completed"),
    P.RELEASING: Place(460, 290, "back"),
    P.REFUNDING: Place(790, 290, "back", side=1),
    P.FAILED: Place(235, 480, "undone"),
    P.COMPENSATED: Place(795, 480, "undone"),
    P.FAILED_RELEASING: Place(95, 655, "late", 150, 48),
    P.FAILED_REFUNDING: Place(375, 655, "late", 150, 48, 1),
    P.COMPENSATED_RELEASING: Place(655, 655, "late", 150, 48),
    P.COMPENSATED_REFUNDING: Place(935, 655, "late", 150, 48, 1),
}
_WAYS: dict[tuple[Position, Position], Way] = {
    (P.VALIDATING, P.RESERVING): Way("M230,80 H357", 294, 71),
    (P.RESERVING, P.CHARGING): Way("M560,80 H687", 624, 71),
    (P.CHARGING, P.COMPLETED): Way("M890,80 H1017", 954, 71),
    (P.VALIDATING, P.FAILED): Way("M130,117 L201,440", 144, 240, "end"),
    (P.RESERVING, P.FAILED): Way("M390,117 L272,440", 312, 362, "start"),
    (P.RESERVING, P.RELEASING): Way("M460,117 V250", 452, 190, "end"),
    (P.CHARGING, P.RELEASING): Way("M715,117 L538,250", 636, 200, "start"),
    (P.CHARGING, P.REFUNDING): Way("M790,117 V250", 799, 190, "start"),
    (P.REFUNDING, P.RELEASING): Way("M690,278 H563", 626, 269),
    (P.RELEASING, P.REFUNDING): Way("M560,302 H687", 624, 320),
    (P.RELEASING, P.COMPENSATED): Way("M500,327 L741,440", 618, 372, "start"),
    (P.FAILED, P.FAILED_RELEASING): Way("M161,517 L80,628", 112, 567, "end"),
    (P.FAILED_RELEASING, P.FAILED): Way("M115,631 L196,520", 150, 612, "start"),
    (P.FAILED, P.FAILED_REFUNDING): Way("M309,517 L390,628", 358, 567, "start"),
    (P.FAILED_REFUNDING, P.FAILED): Way("M355,631 L274,520", 300, 576, "end"),
    (P.FAILED_RELEASING, P.FAILED_REFUNDING): Way("M170,649 H297", 234, 642),
    (P.FAILED_REFUNDING, P.FAILED_RELEASING): Way("M300,665 H173", 236, 682),
    (P.COMPENSATED, P.COMPENSATED_RELEASING): Way("M721,517 L640,628", 672, 567, "end"),
    (P.COMPENSATED_RELEASING, P.COMPENSATED): Way("M675,631 L756,520", 710, 612, "start"),
    (P.COMPENSATED, P.COMPENSATED_REFUNDING): Way("M869,517 L950,628", 918, 567, "start"),
    (P.COMPENSATED_REFUNDING, P.COMPENSATED): Way("M915,631 L834,520", 860, 576, "end"),
    (P.COMPENSATED_RELEASING, P.COMPENSATED_REFUNDING): Way("M730,649 H857", 794, 642),
    (P.COMPENSATED_REFUNDING, P.COMPENSATED_RELEASING): Way("M860,665 H733", 796, 682),
}
_LEGEND = (
    (960, 262, "Back to its own box: no reply in time, or"),
    (960, 279, "a failure that may pass. Sent again, then"),
    (960, 296, "parked, and asked again without end."),
    (960, 324, "Dashed: the order has ended. What a"),
    (960, 341, "participant did late is undone; how the"),
    (960, 358, "order ended does not change."),
)


_HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" class="saga-diagram" viewBox="{LEFT} {TOP} {WIDTH} {HEIGHT}" role="img"
 aria-labelledby="saga-diagram-title saga-diagram-description">
<title id="saga-diagram-title">The saga of an order</title>
<desc id="saga-diagram-description">Forward: validating, reserving, charging, completed. Back: refunding, releasing,
compensated; or failed, where there is nothing to undo. What a participant did late is undone afterwards.</desc>
<style>
{_STYLE}
</style>
<defs><marker id="saga-arrow" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" orient="auto">
<path class="saga-arrow" d="M0,0 L10,5 L0,10 z"/></marker></defs>"""


def draw(ways: Mapping[tuple[Position, Position], Sequence[str]]) -> str:
    """The picture of these ways and what triggers each of them.

    Raises:
        LookupError: the table has a way that is not laid out here, or the other way round.
    """
    moves = {way for way in ways if way[0] is not way[1]}
    if astray := moves ^ _WAYS.keys():
        raise LookupError(
            f"saga/insight/diagram_svg.py must lay out {sorted((here.name, to.name) for here, to in astray)}"
        )
    parts = [_HEAD]
    parts += [_edge(here, to, triggers) for (here, to), triggers in ways.items()]
    parts += [_position(position, place) for position, place in _PLACES.items()]
    parts += [f'<text class="saga-legend" x="{x}" y="{y}">{escape(line)}</text>' for x, y, line in _LEGEND]
    return "\n".join([*parts, "</svg>\n"])


def _slug(position: Position) -> str:
    return position.name.lower().replace("_", "-")


def _position(position: Position, place: Place) -> str:
    left, top = place.x - place.width // 2, place.y - place.height // 2
    lines = [f"{position.status} / {position.current_step}"] if place.kind != "late" else []
    awaits = [f"awaits {position.open_command}"] if position.open_command else []
    lines += awaits
    title = f"{_slug(position)}: {', '.join([f'{position.status} / {position.current_step}', *awaits])}"
    first = place.y + 5 - 9 * len(lines)
    name = f"{_slug(position).rsplit('-', 1)[-1]} late" if place.kind == "late" else _slug(position)
    text = [f'<text class="saga-name" x="{place.x}" y="{first}">{name}</text>']
    text += [f'<text x="{place.x}" y="{first + 18 * row}">{line}</text>' for row, line in enumerate(lines, start=1)]
    return (
        f'<g id="position-{_slug(position)}" class="saga-position {place.kind}" data-status="{position.status}" '
        f'data-step="{position.current_step}" data-command="{position.open_command or ""}"><title>{title}</title>'
        f'<rect x="{left}" y="{top}" width="{place.width}" height="{place.height}" rx="10"/>{"".join(text)}</g>'
    )


def _edge(here: Position, to: Position, triggers: Sequence[str]) -> str:
    way = _WAYS.get((here, to)) or _way_back(_PLACES[here])
    lines = [] if here is to else _label(triggers)
    text = "".join(
        f'<text x="{way.x}" y="{way.y + 15 * row}" text-anchor="{way.anchor}">{escape(line)}</text>'
        for row, line in enumerate(lines)
    )
    return (
        f'<g id="edge-{_slug(here)}-{_slug(to)}" class="saga-edge {_PLACES[to].kind}" '
        f'data-from="{_slug(here)}" data-to="{_slug(to)}" data-signals="{escape("|".join(triggers))}">'
        f"<title>{_slug(here)} to {_slug(to)}: {escape('; '.join(triggers))}</title>"
        f'<path d="{way.path}" marker-end="url(#saga-arrow)"/>{text}</g>'
    )


def _way_back(place: Place) -> Way:
    """Asking again: out of an upper corner and in again."""
    side, corner, top = place.side, place.x + place.side * place.width // 2, place.y - place.height // 2
    return Way(f"M{corner - 30 * side},{top} c{2 * side},-26 {52 * side},-10 {33 * side},15", corner, top)


def _label(triggers: Sequence[str]) -> list[str]:
    """What is read beside an arrow; whatever else leads there is in its title."""
    said = [trigger for trigger in triggers if not trigger.startswith("operator")] or list(triggers)
    plain = [trigger for trigger in said if "," not in trigger]
    return plain or said[0].replace(", ", ",\n").split("\n")
