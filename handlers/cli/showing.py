"""Sagas and dead letters for people at a terminal."""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from handlers.cli.outcome import output

_APART = ("headers", "properties", "body", "bodyBase64", "safety")
"""Of a dead letter: what is not shown as a line of its own."""
_PRECISE, _MINUTE, _HOUR, _DAY = 10, 60, 3_600, 86_400
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNESCAPED = re.compile(r"[\x7f-\x9f]")
"""Control characters that JSON does not ask to be escaped."""


def print_json(answer: Any) -> None:
    """An answer as it came; what could command a terminal is escaped, as JSON lets it be."""
    output.print(_json(answer, indent=2))


def print_sagas(page: dict[str, Any]) -> None:
    """A page of sagas, a line for each."""
    now = datetime.now(UTC)
    print_table(
        ("order", "status", "step", "age", "attempt", "incident"),
        (
            (
                saga["orderId"],
                saga["status"],
                saga["currentStep"],
                duration((now - instant(saga["createdAt"])).total_seconds()),
                _attempt(saga),
                saga["incident"]["kind"] if saga["incident"] else "",
            )
            for saga in page["items"]
        ),
        page["next"],
    )


def print_saga(saga: dict[str, Any]) -> None:
    """A saga's way, with how long each part of it took, and what lies ahead."""
    output.print(clean(f"order {saga['orderId']}: {saga['status']} / {saga['currentStep']}"))
    born, moments = instant(saga["createdAt"]), [saga["createdAt"], *(e["timestamp"] for e in saga["history"])]
    took = [duration((instant(b) - instant(a)).total_seconds()) for a, b in pairwise(moments)]
    lines = [("", moments[0], "", "Created", "", "")]
    lines += [
        (f"+{part}", entry["timestamp"], entry["step"], entry["status"], str(entry["attempt"]), _words(entry))
        for part, entry in zip(took, saga["history"], strict=True)
    ]
    print_table(("", "when", "step", "", "attempt", ""), lines)
    if saga["completedAt"]:
        output.print(f"ended after {duration((instant(saga['completedAt']) - born).total_seconds())}")
    if saga["incident"]:
        output.print(
            clean(
                f"incident {saga['incident']['kind']} since {saga['incident']['since']}: {saga['incident']['detail']}"
            )
        )
    if waiting := saga["waiting"]:
        until = f"until {waiting['until']}, then" if waiting["until"] else "without end, or until then"
        output.print(f"waits for {' or '.join(waiting['for'])} (attempt {_attempt(saga)}) {until}: {waiting['then']}")
    if saga["remainingSteps"]:
        output.print(f"ahead: {', '.join(saga['remainingSteps'])}")


def print_letters(page: dict[str, Any]) -> None:
    """A page of dead letters, a line for each; the error, which may be long, comes last."""
    print_table(
        ("id", "arrived", "count", "reason", "routing key", "order", "if redriven", "error"),
        (
            (
                letter["id"],
                letter["lastAt"],
                str(letter["count"]),
                letter["reason"],
                letter["routingKey"],
                letter["orderId"] or "",
                letter["safety"]["detail"],
                letter["error"],
            )
            for letter in page["items"]
        ),
        page["next"],
    )


def print_letter(letter: dict[str, Any]) -> None:
    """A dead letter with all that it has."""
    lines = [(name, _word(value)) for name, value in letter.items() if name not in _APART]
    for part in ("headers", "properties"):
        lines += [(f"{part}: {name}", _word(value)) for name, value in letter[part].items()]
    print_table(("", ""), [*lines, ("if redriven", letter["safety"]["detail"])])
    which = "body" if letter["bodySha256"] is None else "beginning of the body"
    output.print(f"{which}, in Base64:" if letter["body"] is None else f"{which}:")
    for line in (letter["bodyBase64"] if letter["body"] is None else letter["body"]).splitlines():
        output.print(clean(line.expandtabs()))


def print_table(
    heads: Iterable[str], lines: Iterable[Iterable[str]], following: str | None = None, on: Console = output
) -> None:
    """Lines under heads, as wide as they are; `following` is what `--after` takes for the next page."""
    heads = tuple(heads)
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(heads))
    for head in heads:
        table.add_column(head, no_wrap=True)
    for line in lines:
        table.add_row(*(Text(clean(word)) for word in line))
    if table.row_count:
        on.print(table)
    else:
        on.print("none")
    if following:
        on.print(f"more: --after {following}")


def duration(seconds: float) -> str:
    """Seconds as people say them: `0.245 s`, `12.3 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{seconds:.3f} s" if whole < _PRECISE else f"{seconds:.1f} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def instant(text: str) -> datetime:
    """A time as the API has it."""
    return datetime.fromisoformat(text)


def clean(text: str) -> str:
    """A text that came over the network, without what could command a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _word(value: Any) -> str:
    """A value in a line: a text as it is, nothing where there is none, anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value)


def _attempt(saga: dict[str, Any]) -> str:
    waiting = saga["waiting"]
    return f"{waiting['attempt']}/{waiting['attempts']}" if waiting else ""


def _words(entry: dict[str, Any]) -> str:
    often = f" (x{entry['count']})" if "count" in entry else ""
    by = f" [{entry['actor']}]" if "actor" in entry else ""
    return f"{entry['message']}{often}{by}"
