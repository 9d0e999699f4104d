"""Bring an OpenAPI 3.0 document to 3.1, where schemas are JSON Schema 2020-12. Pure.

Only what changed its spelling and is common: ``nullable``, boolean ``exclusiveMinimum``/``exclusiveMaximum`` and a
schema's ``example``. Everything else of 3.0 means the same in 3.1.
"""

from typing import Any

Json = dict[str, Any]

_MAPS = frozenset({"properties", "patternProperties"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf"})
_SCHEMAS = frozenset({"items", "not", "additionalProperties"})
_DATA = frozenset({"example", "examples", "default", "enum", "value"})
_BOUNDS = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))


def upgrade(document: Json) -> Json:
    """Return the document as 3.1; one that is already is returned as it is."""
    if not str(document.get("openapi", "")).startswith("3.0"):
        return document
    upgraded: Json = _walk(document)
    upgraded["openapi"] = "3.1.0"
    components = upgraded.get("components")
    if isinstance(components, dict) and isinstance(components.get("schemas"), dict):
        components["schemas"] = {name: _schema(schema) for name, schema in components["schemas"].items()}
    return upgraded


def _walk(value: Any) -> Any:
    """Copy everything around schemas; they stand under the key "schema" or in components."""
    if isinstance(value, list):
        return [_walk(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _part(key, item) for key, item in value.items()}


def _part(key: str, value: Any) -> Any:
    if key == "schema":
        return _schema(value)
    # "schemas" is left for upgrade(), which reads the names in it as names.
    return value if key in _DATA or key == "schemas" else _walk(value)


def _schema(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    converted = {key: _member(key, value) for key, value in schema.items()}
    for flag, bound in _BOUNDS:
        _convert_bound(converted, flag, bound)
    if "example" in converted:
        converted["examples"] = [converted.pop("example")]
    return _nullable(converted) if converted.pop("nullable", False) is True else converted


def _member(key: str, value: Any) -> Any:
    if key in _MAPS and isinstance(value, dict):
        return {name: _schema(item) for name, item in value.items()}
    if key in _LISTS and isinstance(value, list):
        return [_schema(item) for item in value]
    return _schema(value) if key in _SCHEMAS else value


def _convert_bound(schema: Json, flag: str, bound: str) -> None:
    """``minimum: 1, exclusiveMinimum: true`` is ``exclusiveMinimum: 1`` now."""
    if not isinstance(schema.get(flag), bool):
        return
    if schema.pop(flag) and bound in schema:
        schema[flag] = schema.pop(bound)


def _nullable(schema: Json) -> Json:
    kind = schema.get("type")
    if not isinstance(kind, str):
        # Without a type there is no list to add "null" to: a reference or a composition.
        return {"anyOf": [schema, {"type": "null"}]}
    nullable = {**schema, "type": [kind, "null"]}
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        nullable["enum"] = [*schema["enum"], None]
    return nullable
