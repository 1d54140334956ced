"""The table for people, generated from it: as Markdown, as a Mermaid state diagram, as a picture.

`python -m saga.insight.diagram` writes them between their markers in the README and `docs/state-machine.md`, and beside
the dashboard.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from models.states import Position
from saga.insight import diagram_svg as picture
from saga.table import TABLE, cells
from saga.transitions import (
    REPLY_MODELS,
    Acknowledge,
    Already,
    Cell,
    Conflict,
    Go,
    Ignore,
    Note,
    Refuse,
    Retry,
    SendAgain,
    Signal,
)

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENT = ROOT / "docs" / "state-machine.md"
PICTURE = ROOT / "handlers" / "dashboard" / "saga.svg"


@dataclass(frozen=True, slots=True)
class Trigger:
    """What leads from one position to another, and on which condition."""

    signal: Signal
    condition: str = ""

    def __str__(self) -> str:
        return f"{self.signal}, {self.condition}" if self.condition else self.signal.value


def edges() -> dict[tuple[Position, Position], list[Trigger]]:
    """Every way from position to position that the table has, asking again (a way back to itself) included."""
    ways: dict[tuple[Position, Position], list[Trigger]] = defaultdict(list)
    for here, signal, cell in cells():
        for to, condition in _ways(here, cell):
            ways[here, to].append(Trigger(signal, condition))
    return dict(ways)


def _ways(here: Position, cell: Cell) -> list[tuple[Position, str]]:
    match cell:
        case Go():
            ways = [(cell.to, ""), (cell.if_cancelled, "if cancelled"), (cell.if_owed, "if a release is owed")]
        case Retry():
            ways = [(here, ""), (cell.if_cancelled, "if cancelled")]
        case Note():
            ways = [(cell.to, "")]
        case SendAgain():
            ways = [(here, "")]
        case Conflict() | Ignore() | Refuse() | Already() | Acknowledge():
            ways = []
    return [(to, condition) for to, condition in ways if to is not None]


def name(position: Position) -> str:
    """A position's name in running text."""
    return position.name.replace("_", "-").lower()


_COLUMNS = (
    "position",
    "status / step",
    "open command",
    "success reply",
    "definite failure reply",
    "timeout or retryable failure, sends left",
    "none left",
    "cancel",
)


def markdown_rows() -> str:
    """One line per position."""
    return "\n".join(
        [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}", *(_line(position) for position in Position)]
    )


def markdown_matrix() -> str:
    """One line per signal, one column per position: every cell of the table."""
    lines = [f"| signal | {' | '.join(map(name, Position))} |", f"|---{'|---' * len(Position)}|"]
    lines += [
        f"| {signal} | {' | '.join(_word(TABLE[position][signal]) for position in Position)} |" for signal in Signal
    ]
    return "\n".join(lines)


def _line(position: Position) -> str:
    row, command = TABLE[position], position.open_command
    place = f"{position.status} / {position.current_step}"
    cancel = _sentence(row[Signal.CANCEL])
    if command is None:
        return f"| **{name(position)}** | {place} | none | | | | | {cancel} |"
    answers = {model.success: row[signal] for signal, model in REPLY_MODELS.items() if model.answers is command}
    silence = row[Signal.TIMED_OUT]
    assert isinstance(silence, Retry), "an open command always has a deadline"
    texts = [_sentence(answers[True]), _sentence(answers[False]), _sentence(silence), f"park: `{silence.park}`", cancel]
    return f"| **{name(position)}** | {place} | {command} | {' | '.join(texts)} |"


def _sentence(cell: Cell) -> str:
    match cell:
        case Go():
            return f"→ {name(cell.to)}{_instead(cell.if_cancelled, 'cancelled')}{_instead(cell.if_owed, 'owed')}"
        case Retry():
            return f"send again{_instead(cell.if_cancelled, 'cancelled')}"
        case Note():
            return f"→ {name(cell.to)}, once the reply in flight has come"
        case Ignore(why) | Refuse(why) | Already(why):
            return f"{_WORDS[type(cell)]}: {why}"
        case Conflict(vouched=True):
            return _OF_A_PERSON
        case SendAgain() | Conflict() | Acknowledge():
            return _WORDS[type(cell)]


def _instead(to: Position | None, condition: str) -> str:
    return f" (if {condition} → {name(to)})" if to else ""


_OF_A_PERSON = "conflict, if a person vouched for it"
_WORDS: dict[type[Cell], str] = {
    SendAgain: "send again",
    Conflict: "conflict",
    Ignore: "ignored",
    Refuse: "refused",
    Already: "no change",
    Acknowledge: "close incident",
}


def _word(cell: Cell) -> str:
    match cell:
        case Go():
            return f"→ {' or '.join(name(to) for to in (cell.to, cell.if_cancelled, cell.if_owed) if to)}"
        case Retry():
            return f"retry, park{_instead(cell.if_cancelled, 'cancelled')}"
        case Note():
            return f"noted, → {name(cell.to)}"
        case Conflict(vouched=True):
            return _OF_A_PERSON
        case _:
            return _WORDS[type(cell)]


def mermaid() -> str:
    """The state diagram in Mermaid's words."""
    lines = ["stateDiagram-v2", "  direction LR"]
    lines += [f'  state "{name(position)}<br/>{position.status}" as {position.name}' for position in Position]
    lines += [f"  [*] --> {next(iter(Position)).name} : CreateOrder"]
    for (here, to), triggers in edges().items():
        # Mermaid ends a label at a colon
        label = "<br/>".join(str(trigger).replace(":", "") for trigger in triggers)
        lines.append(f"  {here.name} --> {to.name} : {label}")
    lines += [f"  {position.name} --> [*]" for position in Position if position.open_command is None]
    return "\n".join(lines)


def svg() -> str:
    """The picture; `saga.insight.diagram_svg` says where everything stands in it."""
    return picture.draw({way: [str(trigger) for trigger in triggers] for way, triggers in edges().items()})


def parts() -> dict[tuple[Path, str], str]:
    """Generated Markdown by file and marker name."""
    picture_link = f"![The saga's positions and what leads from one to the next](../{PICTURE.relative_to(ROOT)})"
    return {
        (README, "rows"): markdown_rows(),
        (DOCUMENT, "rows"): markdown_rows(),
        (DOCUMENT, "matrix"): markdown_matrix(),
        (DOCUMENT, "diagram"): f"{picture_link}\n\n```mermaid\n{mermaid()}\n```",
    }


def between_markers(text: str, part: str, content: str) -> str:
    """The text with this content between the markers `<!-- part:begin -->` and `<!-- part:end -->`.

    Raises:
        LookupError: the markers are not there exactly once.
    """
    begin, end = f"<!-- {part}:begin -->", f"<!-- {part}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise LookupError(f"{begin} and {end} must be there once each")
    return re.sub(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{content}\n{end}", text, flags=re.DOTALL
    )


def main() -> None:
    """Write all that is generated from the table."""
    for (page, part), content in parts().items():
        text = between_markers(page.read_text(encoding="utf-8"), part, content)
        page.write_text(text, encoding="utf-8")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
