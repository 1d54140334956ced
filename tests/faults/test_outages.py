"""One thing is away, silent or gone; nothing is lost meanwhile, and all goes on soon after it is back."""

from random import Random

from tests.faults.clients import MIX
from tests.faults.place import Place


async def test_without_a_fault_every_law_holds(here: Place) -> None:
    await here.start_service()
    await here.order([*MIX, *MIX], Random(1))
    await here.quiet()
    assert await here.broken() == []
