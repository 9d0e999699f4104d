"""JSON Schema of config.json, for editors.

Write it anew with ``python -m supervisor.config.schema > docs/reference/config.schema.json``.
"""

import json
import sys
from typing import Any

from supervisor.config.settings import Settings


def json_schema() -> dict[str, Any]:
    """The schema; what a schema cannot say (pairs of keys, files that must exist) is left to ``load``."""
    schema = Settings.model_json_schema()
    schema["properties"] = {"$schema": {"type": "string"}, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "xcore config.json"}


def text() -> str:
    """The schema as it lies in docs/reference/config.schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
