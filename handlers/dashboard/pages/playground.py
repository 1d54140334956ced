"""The playground `/try` of a local system: place an order, watch its saga, tell the stand-ins how to behave."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from handlers.api.orders import accept
from handlers.dashboard.flash import notice
from handlers.dashboard.forms import Sent, field_errors
from handlers.dashboard.page_route import pages
from handlers.dashboard.pages.stand_ins import MODES, StandIns
from handlers.dashboard.rendering import PLAYGROUND, page, see
from handlers.http.problems import InvalidError, ProblemError, problem_of
from models.messages import OrderBody
from saga.engine import Engine

_LAPTOP = {"productName": "Laptop", "quantity": "1", "price": "1299.99"}
SCENARIOS: Mapping[str, Mapping[str, str]] = {
    "happy": _LAPTOP,
    # the stand-in Inventory has 1000 of everything, and no card is good for more than 10000.00
    "stock": _LAPTOP | {"quantity": "1001", "price": "1.00"},
    "payment": _LAPTOP | {"price": "10000.01"},
    "silence": _LAPTOP,
}
"""Orders that are ready made, by the scenario that they show."""
_FIELDS = frozenset(_LAPTOP)
_WHOLE = re.compile(r"[0-9]{1,18}")
_VALIDATION = {"inventory": {"ValidateInventory": "mute"}}


def trying_routes(engine: Engine, stand_ins: StandIns) -> APIRouter:
    """The routes of the page."""
    router = pages()

    async def trying(request: Request, typed: Mapping[str, str], problem: ProblemError | None = None) -> Response:
        return page(
            request,
            "try.html",
            typed_in={name: typed.get(name, default) for name, default in _LAPTOP.items()},
            problem=problem,
            notice=notice(request.query_params.get("done")),
            stand_ins=await stand_ins.all(),
            modes=MODES,
        )

    @router.get("/try", name=PLAYGROUND)
    async def look(request: Request) -> Response:
        return await trying(request, {})

    @router.post("/try")
    async def act(request: Request, sent: Sent) -> Response:
        do, typed = sent.get("do", ""), {name: value for name, value in sent.items() if name != "do"}
        try:
            if do in ("tell", "calm"):
                await stand_ins.tell(_wishes(typed, calm=do == "calm"))
                return see(request, "try?done=told")
            if do == "silence":
                await stand_ins.tell(_VALIDATION)
            order_id = await _order(engine, do, typed)
        except Exception as error:  # noqa: BLE001 - a mistake of ours is raised on
            return await trying(request, typed, problem_of(error))
        return see(request, f"sagas/{order_id}")

    return router


async def _order(engine: Engine, do: str, typed: Mapping[str, str]) -> UUID:
    if do != "order" and (do not in SCENARIOS or typed):
        raise ProblemError(422, "invalid", "This form asks for something that this page does not have.")
    _, accepted = await accept(engine, _body(SCENARIOS.get(do, typed)), None)
    return accepted.order_id


def _body(typed: Mapping[str, str]) -> OrderBody:
    """The order, as the API would read it; its customer and its product are made up.

    Raises:
        InvalidError: what is wrong with each field.
    """
    item: dict[str, Any] = {name: value for name, value in typed.items() if value.strip()}
    for name in ("quantity", "price"):
        if name in item:
            item[name] = item[name].strip()
    if _WHOLE.fullmatch(item.get("quantity", "")):
        item["quantity"] = int(item["quantity"])
    try:
        if unknown := item.keys() - _FIELDS:
            raise ProblemError(422, "invalid", f"{', '.join(sorted(unknown))}: is not known here")
        return OrderBody.model_validate({"userId": str(uuid4()), "items": [{"productId": str(uuid4()), **item}]})
    except ValidationError as error:
        errors = field_errors(error.errors())
        for one in errors:
            # ("items", 0, "price"), or the order as a whole: then what can be changed about it is the price
            one.field = one.field.rpartition(".")[2] if one.field.count(".") > 1 else "price"
        raise InvalidError(errors) from error


def _wishes(typed: Mapping[str, str], *, calm: bool) -> dict[str, dict[str, str]]:
    """What each stand-in is told: the fields are `inventory.ReserveInventory`, their values modes."""
    wishes: dict[str, dict[str, str]] = {}
    for name, mode in typed.items():
        stand_in, _, command = name.partition(".")
        if mode not in MODES or not command:
            raise ProblemError(422, "invalid", "This form asks for something that this page does not have.")
        wishes.setdefault(stand_in, {})[command] = "normal" if calm else mode
    return wishes
