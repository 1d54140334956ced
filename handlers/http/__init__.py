"""HTTP itself, whatever is asked: problems, bodies, caching, limits, shutdown."""
