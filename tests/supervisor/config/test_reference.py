"""The reference pages and the published schema say what the models say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from supervisor.config import schema
from supervisor.config.plugin_keys import Job, PluginKeys, TaskOverrides
from supervisor.config.settings import Settings

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """One row of a reference table per key."""
    document = model.model_json_schema()
    yield from _rows(document, document, prefix)


def _rows(document: dict[str, Any], section: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, field in section["properties"].items():
        if "live" in field:
            live = "live" if field["live"] else "restart"
            required = name in section.get("required", [])
            default = "required" if required else f"`{json.dumps(_plain(field.get('default', {})))}`"
            yield f"| `{prefix}{name}` | {_kind(document, field)} | {default} | {live} | {field['description']} |"
        else:
            yield from _rows(document, _resolved(document, field), f"{prefix}{name}.")


def _plain(default: Any) -> Any:
    return int(default) if isinstance(default, float) and default.is_integer() else default


def _resolved(document: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    return document["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field


def _kind(document: dict[str, Any], field: dict[str, Any]) -> str:
    field = _resolved(document, field)
    if "anyOf" in field:
        return " or ".join(_kind(document, option) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(field["enum"])
    if field["type"] == "array":
        return f"list of {_kind(document, field['items'])}s"
    names = {"integer": "whole number", "boolean": "true, false"}
    return names.get(field["type"], field["type"]) + _range(field)


def _range(field: dict[str, Any]) -> str:
    if "exclusiveMinimum" in field:
        return f" > {field['exclusiveMinimum']:g}"
    if "minimum" not in field:
        return ""
    if field["maximum"] > 100_000:  # a guard against overflow, not worth a reader's time
        return f" >= {field['minimum']:g}"
    return f" {field['minimum']:g} to {field['maximum']:g}"


@pytest.mark.parametrize(
    ("page", "model", "prefix"),
    [
        ("config.md", Settings, ""),
        ("config.md", TaskOverrides, "tasks.<name>."),
        ("manifest.md", PluginKeys, ""),
        ("manifest.md", Job, "jobs[]."),
    ],
    ids=["config", "tasks", "manifest", "jobs"],
)
def test_every_key_is_documented_as_it_is(page, model, prefix):
    """Every key has its row: type, default, live or restart, meaning."""
    text = (REFERENCE / page).read_text()
    assert [row for row in rows(model, prefix) if row not in text] == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("config.md", [*rows(Settings), *rows(TaskOverrides, "tasks.<name>.")]),
        ("manifest.md", [*rows(PluginKeys), *rows(Job, "jobs[].")]),
    ],
)
def test_no_key_is_documented_that_does_not_exist(page, expected):
    """A key that was removed or renamed leaves the reference as well."""
    documented = [line for line in (REFERENCE / page).read_text().splitlines() if line.startswith("| `")]
    keys = [line for line in documented if line.endswith("|") and line.count("|") >= 6]
    assert set(keys) == set(expected)


def test_the_published_schema_is_current():
    """docs/reference/config.schema.json is what ``python -m supervisor.config.schema`` prints."""
    assert (REFERENCE / "config.schema.json").read_text() == schema.text()


def test_the_example_at_the_top_level_fits_the_schema():
    """Editors check config.json by the schema that its "$schema" names."""
    example = json.loads((ROOT / "config.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema.json_schema())
    jsonschema.validate(example, schema.json_schema())
    assert (ROOT / example["$schema"]).samefile(REFERENCE / "config.schema.json")


@pytest.mark.parametrize(
    "document", [{"gateway": {"prot": 1}}, {"gateway": {"port": "8082"}}, {"gateway": {"port": -1}}]
)
def test_the_schema_refuses_what_the_loader_refuses(document):
    """Unknown keys, wrong types and values out of range are marked in the editor already."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema.json_schema())
