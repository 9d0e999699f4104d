"""The OpenAPI document of a plugin, ready to be sent to the supervisor."""

from __future__ import annotations

import hashlib
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any, Optional

from plugin_runtime.protocol import MAX_SCHEMA, Schema


def make_schema(produce: Callable[[], dict[str, Any]]) -> Optional[Schema]:
    """Make the document; None, and a line on stderr, where that fails or it is too large.

    A plugin whose documentation cannot be made still serves.
    """
    try:
        document = json.dumps(produce(), ensure_ascii=False, separators=(",", ":")).encode()
    except Exception:  # noqa: BLE001 - boundary: the plugin's models decide what happens in there
        sys.stderr.write("Cannot make the OpenAPI document; the plugin is served without one:\n")
        traceback.print_exc()
        return None
    if len(document) > MAX_SCHEMA:
        sys.stderr.write(f"The OpenAPI document of {len(document)} bytes is over {MAX_SCHEMA}; left out\n")
        return None
    return Schema(hash=hashlib.sha256(document).hexdigest(), document=document)
