"""The smallest value a JSON schema allows, as a model under structured output would write it. Pure.

Knows what SDKs send: objects, arrays, enum, const, anyOf, $ref. Must not be taken for a validator.
"""

from __future__ import annotations

from typing import cast

import msgspec

from sekisho.mock.script import ScriptError

Schema = dict[str, object]

#: a schema may refer to itself: from here on null is chosen where it is allowed, and arrays stay empty
_DEEP = 12
#: from here on nothing else is written
_DEEPEST = 24
#: `minItems` is honoured up to here
_MOST_ITEMS = 100
#: of the value as JSON, about: what refers to itself twice doubles with each level
_MOST_BYTES = 1_000_000

_BY_TYPE: dict[str, object] = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "null": None}

_BY_FORMAT: dict[str, str] = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "taro@example.com",
    "ipv4": "192.0.2.1",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample(schema: Schema) -> object:
    """A value for the schema: string "text", integer 1, number 1.0, boolean true, array [], enum its first.

    Raises ScriptError where it would be very large.
    """
    return _sample(schema, _Root(schema), 0)


class _Root:
    """The whole schema, and what its value may still weigh."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._left_bytes = _MOST_BYTES

    def weigh(self, value: object) -> object:
        """The value, or a name of one. Raises ScriptError."""
        self._left_bytes -= len(msgspec.json.encode(value)) + 1
        if self._left_bytes < 0:
            raise ScriptError(f"the smallest value of this JSON schema is larger than {_MOST_BYTES:,} bytes")
        return value


def _sample(schema: Schema, root: _Root, depth: int) -> object:
    root.weigh(None)
    if depth >= _DEEPEST:
        return None
    if "const" in schema:
        return root.weigh(schema["const"])
    if options := _list(schema.get("enum")):
        return root.weigh(options[0])
    if isinstance(target := schema.get("$ref"), str):
        return _sample(_follow(target, root), root, depth + 1)
    if options := _list(schema.get("anyOf")) or _list(schema.get("oneOf")) or _list(schema.get("allOf")):
        return _first_of([_schema(option) for option in options], root, depth)
    kind = schema.get("type", "object" if "properties" in schema else "null")
    if types := _list(kind):
        kind = types[0]
    if kind == "object":
        properties = _schema(schema.get("properties"))
        root.weigh(list(properties))
        return {name: _sample(_schema(inner), root, depth + 1) for name, inner in properties.items()}
    if kind == "array":
        return _items(schema, root, depth)
    if kind == "string":
        return _BY_FORMAT.get(str(schema.get("format")), "text")
    if kind in ("integer", "number"):
        return _number(schema, str(kind))
    return _BY_TYPE.get(str(kind))


def _first_of(options: list[Schema], root: _Root, depth: int) -> object:
    if depth >= _DEEP and any(option.get("type") == "null" for option in options):
        return None
    return _sample(options[0], root, depth + 1)


def _items(schema: Schema, root: _Root, depth: int) -> list[object]:
    least = schema.get("minItems")
    if not isinstance(least, int) or depth >= _DEEP:
        return []
    inner = _schema(schema.get("items"))
    return [_sample(inner, root, depth + 1) for _ in range(min(least, _MOST_ITEMS))]


def _number(schema: Schema, kind: str) -> object:
    value: float = 1
    if isinstance(low := schema.get("minimum"), (int, float)):
        value = max(value, low)
    if isinstance(high := schema.get("maximum"), (int, float)):
        value = min(value, high)
    return int(value) if kind == "integer" else float(value)


def _follow(target: str, root: _Root) -> Schema:
    found = root.schema
    for name in target.removeprefix("#").strip("/").split("/"):
        found = _schema(found.get(name)) if name else found
    return found


def _schema(value: object) -> Schema:
    return cast(Schema, value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else []
