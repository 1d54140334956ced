"""Figures of the whole system beside the floor: what the transport alone costs. `python -m benchmarks --help`.

Nothing of the service imports this package.
"""
