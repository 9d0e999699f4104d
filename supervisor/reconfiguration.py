"""The configuration of a running supervisor: show it, change a key of it, read it anew."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plugin_runtime.task_views import ReloadView
from supervisor.channels.operations import Operation
from supervisor.config.configuration import Configuration
from supervisor.config.difference import changes
from supervisor.config.editor import ConfigurationEditor
from supervisor.config.effective import effective
from supervisor.config.live import LiveConfiguration
from supervisor.config.source import absolute, load
from supervisor.errors import ConfigurationError, XcoreError
from supervisor.works import Works

logger = logging.getLogger(__name__)

_SECTION = "manager"
"""All that can be changed from outside; the rest is the file's user's alone."""


class Reconfiguration:
    """The only one that replaces the configuration in force. One change at a time, in the order of asking."""

    def __init__(self, live: LiveConfiguration, path: Path, environ: Mapping[str, str]) -> None:
        self._live = live
        self._path = absolute(path)
        self._environ = environ
        self._editor = ConfigurationEditor(path, environ)
        self._changing = asyncio.Lock()
        self._reloads = Works()

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "config.show": self.show,
            "config.update": self.update,
            "config.autorestart": self.set_auto_restart,
            "config.reload": self.reload,
        }

    async def show(self) -> dict[str, Any]:
        """The section ``manager`` as it is in force, defaults filled in."""
        shown: dict[str, Any] = effective(self._live.current)[_SECTION]
        return shown

    async def update(self, key: str, value: Any, actor: str) -> dict[str, Any]:
        """Write ``value`` to a key of the section ``manager``, ``tasks.max_retries``, and put it in force.

        With it comes into force whatever else the file says by now.

        Raises:
            ConfigurationError: no such key, or not its value; nothing is written.
            ConflictError: a variable overrides the key, or the file was changed in this moment by somebody else.
            UnwritableFileError: the file cannot be replaced.
        """
        parts = key.split(".")
        if not all(parts):
            raise ConfigurationError(str(self._path), key, "is no key", hint="write it like tasks.max_retries")
        async with self._changing:
            # The disk may be slow, and the event loop must not wait for it.
            configuration = await asyncio.to_thread(self._editor.set, (_SECTION, *parts), value)
            self._put_in_force(configuration, actor)
        return {key: value}

    async def set_auto_restart(self, value: bool, actor: str) -> dict[str, Any]:  # noqa: FBT001 - a call's argument
        """Switch ``manager.tasks.auto_restart``. Raises as ``update`` does."""
        return await self.update("tasks.auto_restart", value, actor)

    async def reload(self, actor: str) -> ReloadView:
        """Read config.json anew and put it in force; the answer does not wait for what is restarted.

        Raises:
            ConfigurationError: it is not valid, and the one before stays in force.
        """
        async with self._changing:
            configuration = await asyncio.to_thread(load, self._path, self._environ)
            return self._put_in_force(configuration, actor)

    def reload_soon(self, actor: str) -> None:
        """``reload`` for whom nobody can answer, as a signal; what is wrong is logged."""
        self._reloads.begin(self._reload_and_log(actor), "reload-configuration")

    def close(self) -> None:
        """Give up the reloads that were begun so."""
        self._reloads.cancel()

    async def _reload_and_log(self, actor: str) -> None:
        try:
            await self.reload(actor)
        except XcoreError as error:
            logger.error("Kept the configuration in force: %s", error)  # noqa: TRY400 - a sentence for the operator

    def _put_in_force(self, configuration: Configuration, actor: str) -> ReloadView:
        found = changes(self._live.current, configuration)
        restarted = self._live.replace(configuration)
        changed = [change.key for change in found]
        waiting = [change.key for change in found if not change.live]
        logger.info(
            "Configuration reloaded (%s): %s", actor, f"changed {', '.join(changed)}" if changed else "the same"
        )
        if waiting:
            logger.warning("These keys take effect at the next start of xcore: %s", ", ".join(waiting))
        return ReloadView(changed=changed, restarted=restarted, needs_restart=waiting)
