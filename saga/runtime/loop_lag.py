"""How long the event loop keeps waiting what is due: the one number that shows work which holds up everything else."""

import asyncio
import time

from saga.telemetry.metrics import LOOP_LAG

EVERY = 0.1
"""Seconds between two looks."""


async def watch_lag() -> None:
    """Measure it for ever. A loop that stands still for ten seconds is seen once, as ten seconds."""
    while True:
        due = time.monotonic() + EVERY
        await asyncio.sleep(EVERY)
        LOOP_LAG.observe(max(time.monotonic() - due, 0.0))
