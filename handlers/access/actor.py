"""Who an operator's action is told of: the credential, and the name that a person gives beside it."""

import re
from typing import Annotated

from fastapi import Depends, Header

from handlers.access.principal import AnyCaller
from handlers.http.problems import FieldError, InvalidError

OperatorName = Annotated[
    str | None,
    Header(
        alias="X-Operator",
        description="Who is asking, 1 to 100 characters: written into the saga's history beside the credential.",
        examples=["ann"],
    ),
]
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,100}")


def operator(caller: AnyCaller, x_operator: OperatorName = None) -> str:
    """The actor's name for the history: `key:ops`, or `key:ops (ann)`.

    Raises:
        InvalidError: the name is none.
    """
    return caller.name if x_operator is None else f"{caller.name} ({_named(x_operator)})"


Actor = Annotated[str, Depends(operator)]


def _named(header: str) -> str:
    """The name in a header: UTF-8 where it is that, else Latin-1, as which servers read headers."""
    try:
        name = header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        name = header
    if not _NAME.fullmatch(name):
        detail = "must be 1 to 100 characters, none of them a control character"
        raise InvalidError([FieldError(field="X-Operator", location="header", detail=detail)])
    return name
