"""Pages that do something to many: what it would come to, then do it, a step of a few seconds at a time.

A step is a form that is sent and answered with what came of it, and with the form of the next step. So it works without
a script; with one the next step is sent by itself. Whoever goes away stops it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from fastapi import Request, Response

from handlers.dashboard.forms import wrong_in
from handlers.dashboard.rendering import page
from handlers.problems import ProblemError


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
    """Where the next step begins; None: at the beginning."""
    more: bool = False
    """Whether there is a next step."""
    done: int = 0
    left_alone: int = 0
    stuck: bool = False
    """Whether a person has to say that it goes on."""


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
        status=problem.status_code if problem else 200,
        headers=problem.headers if problem else None,
        words=words,
        progress=progress,
        wanted=wanted,
        typed_in=typed,
        problem=problem,
        wrong=wrong_in(problem) if problem else {},
    )
