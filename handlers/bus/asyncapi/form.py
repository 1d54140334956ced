"""The form of the bus contract: JSON Schemas of what is on the wire, and a document that writes itself in its order."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema


def schemas(incoming: Iterable[type[BaseModel]], outgoing: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """The schemas of these models by name. One that goes both ways has two, `…-Input` and `…-Output`."""
    _, definitions = models_json_schema(
        [*((model, "validation") for model in incoming), *((model, "serialization") for model in outgoing)],
        ref_template="#/components/schemas/{model}",
        schema_generator=_WireSchema,
    )
    return dict(sorted(definitions["$defs"].items()))


class _WireSchema(GenerateJsonSchema):
    """No title per field, and no null in what leaves: a field that has no value is absent."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return (
            self.generate_inner(schema["schema"]) if self.mode == "serialization" else super().nullable_schema(schema)
        )

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        return described


@dataclass(frozen=True, slots=True)
class Document:
    """A finished document: what FastStream calls a `Specification`."""

    content: dict[str, Any]

    @property
    def title(self) -> str:
        """What the document is called."""
        return str(self.content["info"]["title"])

    def to_json(self) -> str:
        """The document as JSON, in its order."""
        return json.dumps(self.content)

    def to_jsonable(self) -> Any:
        """The document as JSON values of its own, which the caller may change."""
        return json.loads(self.to_json())

    def to_yaml(self) -> str:
        """The document as YAML, in its order."""
        text: str = yaml.dump(self.to_jsonable(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
        return text


class _Dumper(yaml.SafeDumper):
    """YAML for people: text of several lines stands as such."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
