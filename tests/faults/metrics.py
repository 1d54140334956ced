"""What `/metrics` says, by name and labels."""

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


def metrics(text: str) -> dict[str, dict[Labels, float]]:
    """Every sample: by name, then by its labels."""
    found: dict[str, dict[Labels, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name][frozenset(sample.labels.items())] = sample.value
    return found
