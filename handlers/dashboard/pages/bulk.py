"""Pages that do something to many: what it would come to, then do it, a step of a few seconds at a time.

A step is a form that is sent and answered with what came of it, and with the form of the next step. So it works without
a script; with one the next step is sent by itself. Whoever goes away stops it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from fastapi import Request, Response
from pydantic import Field

from handlers.api.filters import AfterThat
from handlers.dashboard.forms import Fields
from handlers.dashboard.rendering import page
from handlers.http.problems import ProblemError


@dataclass(frozen=True, slots=True)
class Words:
    """What such a page is about."""

    section: str
    title: str
    explains: str
    each: str
    """What a row is."""
    begin: str
    """What the button says."""
    nothing: str
    """What is said where there is nothing to do."""
    back: str
    """Where the list is."""
    asks: tuple[str, ...] = ()
    """The fields that are filled in before it begins."""


@dataclass(frozen=True, slots=True)
class Row:
    """What would become, or became, of one."""

    path: str
    name: str
    outcome: str
    good: bool
    why: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come."""

    began: bool
    """Whether anything was done, or only looked at."""
    rows: Sequence[Row] = ()
    after: str | None = None
    """Where the next step begins, or the next look; None: at the beginning."""
    more: bool = False
    """Whether there is a next one."""
    behind: bool = False
    """Whether those are looked at that are not the newest."""
    done: int = 0
    left_alone: int = 0
    stuck: bool = False
    """Whether a person has to say that it goes on."""
    pause: float = 0
    """How many seconds the next step waits at least."""


class Step(Fields):
    """What the form of a step says of those before it."""

    after: AfterThat | None = None
    done: int = Field(default=0, ge=0, le=10**9)
    left_alone: int = Field(default=0, ge=0, le=10**9)


COUNTS = {"done", "left_alone"}
"""Those fields of a step that do not say what it is to do."""


def looked(rows: Sequence[Row], following: str | None, after: str | None) -> Progress:
    """Nothing was done: those were looked at that are behind `after`, and others are behind these."""
    return Progress(began=False, rows=rows, after=following, more=following is not None, behind=after is not None)


def stepped(  # noqa: PLR0913 - a step says that much
    before: Step,
    rows: Sequence[Row],
    following: str | None,
    *,
    done: int,
    left_alone: int,
    stuck: bool,
    pause: float = 0,
) -> Progress:
    """What came of a step, and of all before it."""
    return Progress(
        began=True,
        rows=rows,
        after=following,
        more=following is not None,
        done=before.done + done,
        left_alone=before.left_alone + left_alone,
        stuck=stuck,
        pause=pause,
    )


def unchanged(before: Step) -> Progress:
    """What is shown where a step could not be carried out: the same one can be tried again."""
    return Progress(
        began=True, after=before.after, more=True, done=before.done, left_alone=before.left_alone, stuck=True
    )


def many_page(  # noqa: PLR0913, PLR0917 - a page says that much
    request: Request,
    words: Words,
    progress: Progress,
    wanted: Mapping[str, str],
    typed: Mapping[str, str] = MappingProxyType({}),
    problem: ProblemError | None = None,
) -> Response:
    """The page.

    Args:
        request: that it answers.
        words: what it is about.
        progress: how far it has come.
        wanted: which are meant, as the fields of the form have it.
        typed: the other fields, as they were typed.
        problem: what went wrong.
    """
    return page(
        request,
        "many.html",
        words=words,
        progress=progress,
        wanted=wanted,
        typed_in=typed,
        problem=problem,
    )
