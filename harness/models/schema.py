"""JSON Schema as providers' strict modes accept it, and their answers read back as the original schema means them."""

from __future__ import annotations

import json
from typing import Any

_DROPPED = frozenset(
    "default title examples minLength maxLength pattern format minimum maximum exclusiveMinimum exclusiveMaximum "
    "multipleOf minItems maxItems uniqueItems minProperties maxProperties".split()
)
"""Keywords that constrain or comment; strict modes refuse them, and whoever asked validates the answer anyway."""


def closed(schema: Any, every_key_required: bool = False) -> Any:
    """The schema with no additional properties and none of the keywords that strict modes refuse.

    `every_key_required` (OpenAI's rule): optional properties become required and nullable; `without_nulls` undoes it.
    """
    if isinstance(schema, list):
        return [closed(item, every_key_required) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _DROPPED:
            continue
        if key in ("properties", "$defs", "definitions"):
            result[key] = {name: closed(item, every_key_required) for name, item in value.items()}
        elif key in ("enum", "const", "required", "description"):
            result[key] = value
        else:
            # Strict modes know `anyOf` alone.
            result["anyOf" if key == "oneOf" else key] = closed(value, every_key_required)
    if "properties" in result:
        result["additionalProperties"] = False
        if every_key_required:
            required = set(schema.get("required", ()))
            result["properties"] = {
                name: item if name in required else {"anyOf": [item, {"type": "null"}]}
                for name, item in result["properties"].items()
            }
            result["required"] = list(result["properties"])
    return result


def without_nulls(text: str, schema: dict[str, Any]) -> str:
    """A JSON answer without the nulls that stand for optional properties; any other text unchanged."""
    try:
        answer = json.loads(text)
    except ValueError:
        return text
    return json.dumps(_pruned(answer, _required_names(schema)), ensure_ascii=False)


def _pruned(value: Any, kept: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(item, kept) for key, item in value.items() if item is not None or key in kept}
    if isinstance(value, list):
        return [_pruned(item, kept) for item in value]
    return value


def _required_names(schema: Any) -> frozenset[str]:
    names: set[str] = set()
    if isinstance(schema, dict):
        required = schema.get("required")
        names.update(required if isinstance(required, list) else ())
        for value in schema.values():
            names |= _required_names(value)
    elif isinstance(schema, list):
        for value in schema:
            names |= _required_names(value)
    return frozenset(names)
