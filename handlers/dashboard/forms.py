"""What the form of a page sends: urlencoded, from a page of our own, and nothing that the form does not have."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from pydantic import AfterValidator, BaseModel, ValidationError

from handlers.api.filters import Reason
from handlers.http.json_body import content_type_of, read_body
from handlers.http.problems import FieldError, InvalidError, ProblemError, in_words
from models.messages import Closed, Incoming

MAX_FORM_BYTES = 64 * 1024
_MOST_FIELDS = 50
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WORDS = {
    "missing": "must be filled in",
    "extra_forbidden": "is not known here",
    "string_too_short": "must be filled in",
    "string_pattern_mismatch": "must be filled in",
    "uuid_parsing": "must be a UUID, such as 0d9f3c52-4c0e-4e43-9f53-3f0a4f9c3b70",
}
"""Some kinds of error in words that fit beside a field; of the others the words of the API do."""

Model = TypeVar("Model", bound=BaseModel)


class Fields(Incoming, Closed):
    """The fields of a form; one that it does not have is refused."""


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


Line = Annotated[Reason, AfterValidator(_one_line)]
"""A reason, as the one line of a form."""


async def _sent(request: Request) -> dict[str, str]:
    """The fields of a form, as they were typed. That a page of our own sent it the guard has seen.

    Raises:
        ProblemError: it is no form, is too large, or names a field twice.
    """
    if content_type_of(request) != "application/x-www-form-urlencoded":
        raise ProblemError(415, "unsupported_media_type", "A form is sent as application/x-www-form-urlencoded.")
    body = await read_body(request, MAX_FORM_BYTES)
    try:
        pairs = _pairs(body.decode("ascii"))
    except ValueError as error:
        raise ProblemError(400, "unreadable", "The form cannot be read: it is not urlencoded UTF-8.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ProblemError(400, "unreadable", "The form has a field twice.")
    return fields


def _pairs(text: str) -> list[tuple[str, str]]:
    if not text:
        return []
    strictly: dict[str, Any] = {"keep_blank_values": True, "strict_parsing": True, "errors": "strict"}
    return parse_qsl(text, max_num_fields=_MOST_FIELDS, **strictly)


Sent = Annotated[dict[str, str], Depends(_sent)]


def filled_in(model: type[Model], sent: Mapping[str, str]) -> Model:
    """What was sent, or stands in the address, as this model has it. A field left blank is one left out.

    Raises:
        InvalidError: with an error for each field that is wrong.
    """
    try:
        return model.model_validate({name: value for name, value in sent.items() if value.strip()})
    except ValidationError as error:
        raise InvalidError(field_errors(error.errors())) from error


def field_errors(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """What pydantic found, in words for the one who filled the form in."""
    return [
        FieldError(
            field=".".join(map(str, error["loc"])) or "form",
            location="form",
            detail=_WORDS.get(error["type"]) or in_words(error),
        )
        for error in errors
    ]
