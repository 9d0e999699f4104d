"""The prefix that one plugin holds among all claims."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from supervisor.config.configuration import Configuration
from supervisor.errors import PluginRefusedError
from supervisor.plugins.written_prefixes import written_prefix
from supervisor.preparation.manifest import PluginManifest
from supervisor.preparation.prefixes import Claims
from supervisor.preparation.worker_spec import default_prefix, manifest_prefix

logger = logging.getLogger(__name__)


class HeldPrefix:
    """``value`` is "" while the plugin holds none."""

    def __init__(self, plugin: str, claims: Claims, dropped: Callable[[], None], freed: Callable[[], None]) -> None:
        """``dropped``: called after it gave one up. ``freed``: then, if others may have been refused for that one."""
        self.value = ""
        self._is_provisional = False
        """Whoever claims it gets it."""
        self._plugin = plugin
        self._claims = claims
        self._dropped = dropped
        self._freed = freed

    def take(self, prefix: str) -> None:
        """Hold ``prefix`` instead of the one before; where it is not to be had, hold none.

        Raises:
            PluginRefusedError: it is another's, or reserved, or no prefix at all.
        """
        self._claims.release(self._plugin)
        value = ""
        try:
            value = self._claims.claim(self._plugin, prefix)
        finally:
            self._become(value)

    def check(self, prefix: str) -> None:
        """Raise PluginRefusedError where ``change`` would, now."""
        self._claims.check(self._plugin, prefix)

    def change(self, prefix: str) -> None:
        """Hold ``prefix`` instead of the one before, which stays where this one is not to be had.

        Raises:
            PluginRefusedError: it is another's, or reserved, or no prefix at all.
        """
        self._become(self._claims.claim(self._plugin, prefix))

    def release(self) -> None:
        """Hold none."""
        self._claims.release(self._plugin)
        self._become("")

    def take_former(self, prefix: str) -> None:
        """Hold what it held in an earlier life. Nothing happens where it holds one, or where this is not to be had."""
        if self.value or not prefix:
            return
        try:
            self.take(prefix)
        except PluginRefusedError as error:
            logger.debug("%s", error)

    async def take_expected(self, manifest: PluginManifest, folder: Path, configuration: Configuration) -> None:
        """Hold what the plugin's manifest says; where only its code can tell, meanwhile what its files let expect.

        Raises:
            PluginRefusedError: what the manifest says is not to be had.
        """
        prefix = manifest_prefix(manifest)
        if prefix is not None:
            self.take(prefix)
        elif not self.value:
            written = await asyncio.to_thread(written_prefix, self._plugin, folder, configuration)
            self.take_meanwhile(written or default_prefix(self._plugin))

    def take_meanwhile(self, prefix: str) -> None:
        """Hold ``prefix`` until the plugin can say what it claims, so that its callers wait, or learn what is wrong.

        Another plugin that claims it gets it, so nobody is ever refused for what this one may not want at all. Nothing
        happens where this one holds a prefix, or where somebody has that already.
        """
        if self.value:
            return
        try:
            value = self._claims.claim_provisionally(self._plugin, prefix, lambda: self._become(""))
        except PluginRefusedError as error:
            logger.debug("%s", error)
        else:
            self.value, self._is_provisional = value, True

    def _become(self, value: str) -> None:
        former, self.value = self.value, value
        was_provisional, self._is_provisional = self._is_provisional, False
        if former and former != value:
            self._dropped()
            if not was_provisional:
                self._freed()
