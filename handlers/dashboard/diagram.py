"""The state diagram of one saga: the way that it has taken, where it stands, and what is ahead if all goes well."""

import re
from itertools import pairwise

from markupsafe import Markup

from saga.domain import Saga
from saga.insight import diagram
from saga.insight.forecast import way_ahead
from saga.insight.replay import Move

# a page has no style in it; this one's is in style.css
_PICTURE = re.sub(r"<style>.*?</style>\n", "", diagram.svg(), flags=re.DOTALL)
_PART = re.compile(r'<g id="([a-z-]+)" class="')


def picture(saga: Saga, moves: list[Move]) -> Markup:
    """The diagram, each part of it marked `taken`, `present` or `ahead`, where it is one of these."""
    marks = _marks(saga, moves)
    # what is put in comes from the table alone
    return Markup(_PART.sub(lambda part: f"{part[0]}{marks.get(part[1], '')}", _PICTURE))  # noqa: S704


def way(saga: Saga, moves: list[Move]) -> list[str]:
    """The names of the positions that it has been at, the present one last."""
    here = [move.here for move in moves if move.here is not move.to]
    return [diagram.name(position) for position in (*here, saga.position)]


def _marks(saga: Saga, moves: list[Move]) -> dict[str, str]:
    ahead = [saga.position, *way_ahead(saga)]
    marks = {f"position-{diagram.name(position)}": "ahead " for position in ahead}
    marks |= {f"edge-{diagram.name(here)}-{diagram.name(to)}": "ahead " for here, to in pairwise(ahead)}
    for move in moves:
        marks[f"position-{diagram.name(move.here)}"] = "taken "
        marks[f"edge-{diagram.name(move.here)}-{diagram.name(move.to)}"] = "taken "
    marks[f"position-{diagram.name(saga.position)}"] = "taken present "
    return marks
