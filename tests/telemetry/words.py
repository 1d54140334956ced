"""The words of OpenTelemetry's conventions."""

from collections.abc import Iterable
from types import ModuleType

from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, url_attributes

from tests.collector import Seen

OURS = ("saga.", "order.")


def _words(module: ModuleType) -> set[str]:
    """All that a module of constants names, but what is given up."""
    return {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


CONVENTIONS = {
    word
    for module in (messaging_attributes, error_attributes, http_attributes, url_attributes)
    for word in _words(module)
}


def strange_words(spans: Iterable[Seen]) -> set[str]:
    """Names of attributes that are neither of the conventions nor ours."""
    used = {
        key for span in spans for key in (*span.attributes, *(key for one in span.events for key in one.attributes))
    }
    return {key for key in used if key not in CONVENTIONS and not key.startswith(OURS)}
