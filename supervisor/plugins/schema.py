"""The OpenAPI document of one plugin: asked for once, passed on to the gateways."""

import logging

from plugin_runtime.protocol import MAX_SCHEMA, MakeSchema, PluginSchema, Schema
from supervisor.gateways.gateways import Gateways
from supervisor.supervision.child import Child

logger = logging.getLogger(__name__)


class PluginDocument:
    """Knows whether a worker has made it since what they are made from has changed.

    To make it takes a worker as long as a dozen requests, and memory that it no longer shares with others. One that
    takes the place of a dead one has requests waiting, and would make the same.
    """

    def __init__(self, plugin: str, gateways: Gateways) -> None:
        self._plugin = plugin
        self._gateways = gateways
        self._is_known = False

    def renew(self) -> None:
        """What it depends on may be another: ask the next worker that is ready."""
        self._is_known = False

    def ask(self, child: Child) -> None:
        """Have this worker, which is ready, make it if nobody has."""
        ready = child.incarnation.ready if child.incarnation else None
        if ready is not None and ready.has_schema and not self._is_known:
            child.send(MakeSchema())

    def received(self, child: Child, schema: Schema, prefix: str) -> None:
        """Pass it on, unless it is too large for a gateway."""
        if len(schema.document) > MAX_SCHEMA:
            logger.warning("%s sent a schema of %d bytes; it is left out", child, len(schema.document))
            return
        self._is_known = True
        self._gateways.set_schema(PluginSchema(self._plugin, prefix, schema.hash, schema.document))
