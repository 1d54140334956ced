"""What a question in PromQL is about. promtool says whether it is one at all; this finds the names in it."""

import re

KEYWORDS = frozenset(("and", "or", "unless", "by", "without", "on", "ignoring", "bool", "offset"))
OF_EVERY_TARGET = frozenset(("job", "instance"))
OF_EVERY_ALERT = frozenset(("alertname", "alertstate", "severity"))


def metrics_of(expression: str) -> set[str]:
    """The names of the metrics: what is neither a function, a keyword, a label, a string nor a duration."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)", " ", _without_strings(expression))
    return {name for name in re.findall(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", bare) if name not in KEYWORDS}


def labels_of(expression: str) -> set[str]:
    """The labels that are asked for or grouped by."""
    bare = _without_strings(expression)
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", " ".join(re.findall(r"\{([^}]*)\}", bare)))
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", bare)
    return {*selected, *(label for group in grouped for label in re.findall(r"\w+", group))}


def _without_strings(expression: str) -> str:
    return re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
