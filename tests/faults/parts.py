"""What is searched at random for long, in parts that can be run alone: `python -m tests.faults`, or `make faults`."""

from collections.abc import Mapping
from types import MappingProxyType

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "proof": ("tests/proof",),
        "properties": (
            "tests/table",
            "tests/telemetry/test_spans.py",
            "tests/dead_letters/test_values.py",
            "tests/dashboard/test_forms.py",
            "tests/dashboard/test_timeline.py",
        ),
        "cost": ("tests/cost",),
        "poison": ("tests/faults/test_poison.py", "tests/faults/test_poison_on_the_bus.py"),
        "openapi": ("tests/faults/test_openapi.py",),
        "disorder": ("tests/faults/test_duplicates.py",),
        "concurrency": ("tests/faults/test_concurrency.py",),
        "crashes": ("tests/faults/test_crashes.py",),
        "mistakes": ("tests/faults/test_mistakes.py",),
        "recovery": ("tests/benchmarks/test_recovery.py",),
        "benchmarks": ("tests/benchmarks/test_bench_runs.py",),
        "soak": ("tests/faults/test_soak.py",),
    }
)
"""The tests of each part. One part runs after the other: each has the machine for itself."""
