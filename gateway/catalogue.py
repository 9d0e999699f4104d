"""The merged OpenAPI document: keeps what plugins said about themselves, merges when somebody asks, and remembers."""

import asyncio
import json
import logging
from collections.abc import Iterable

from gateway import openapi
from plugin_runtime.protocol import PluginSchema

logger = logging.getLogger(__name__)


class Catalogue:
    """Owns the plugins' documents and the last merged one."""

    def __init__(self) -> None:
        self._schemas: dict[str, PluginSchema] = {}
        self._merged: tuple[frozenset[tuple[str, str, str]], bytes] | None = None
        self._merging = asyncio.Lock()

    def update(self, schema: PluginSchema) -> None:
        """Take a plugin's document in place of the one before; an empty one forgets the plugin."""
        if schema.document:
            self._schemas[schema.plugin] = schema
        else:
            self._schemas.pop(schema.plugin, None)

    async def document(self, core: openapi.Json) -> bytes:
        """Return the merged document as JSON; ``core`` is the gateway's own, always the same."""
        async with self._merging:
            schemas = list(self._schemas.values())
            key = frozenset((schema.plugin, schema.prefix, schema.hash) for schema in schemas)
            if self._merged is None or self._merged[0] != key:
                # In a thread: with documents of some megabytes each this takes longer than others may wait.
                self._merged = key, await asyncio.to_thread(_merged, core, schemas)
            return self._merged[1]


def _merged(core: openapi.Json, schemas: Iterable[PluginSchema]) -> bytes:
    documents = []
    for schema in schemas:
        try:
            documents.append(openapi.parse(schema.plugin, schema.prefix, schema.document))
        except openapi.MalformedDocumentError as error:
            logger.warning("Left out of the API documentation: %s", error)
    return json.dumps(openapi.merge(core, documents)).encode()
