"""The prefix that one plugin holds among all claims."""

import logging
from collections.abc import Callable

from supervisor.errors import PluginRefusedError
from supervisor.preparation.prefixes import Claims

logger = logging.getLogger(__name__)


class HeldPrefix:
    """``value`` is "" while the plugin holds none; ``dropped`` is called after it gave one up."""

    def __init__(self, plugin: str, claims: Claims, dropped: Callable[[], None]) -> None:
        self.value = ""
        self._plugin = plugin
        self._claims = claims
        self._dropped = dropped

    def take(self, prefix: str) -> None:
        """Hold ``prefix`` instead of the one before; where it is not to be had, hold none.

        Raises:
            PluginRefusedError: it is another's, or reserved, or no prefix at all.
        """
        former, self.value = self.value, ""
        self._claims.release(self._plugin)
        try:
            self.value = self._claims.claim(self._plugin, prefix)
        finally:
            if former and former != self.value:
                self._dropped()

    def check(self, prefix: str) -> None:
        """Raise PluginRefusedError where ``change`` would, now."""
        self._claims.check(self._plugin, prefix)

    def change(self, prefix: str) -> None:
        """Hold ``prefix`` instead of the one before, which stays where this one is not to be had.

        Raises:
            PluginRefusedError: it is another's, or reserved, or no prefix at all.
        """
        former, self.value = self.value, self._claims.claim(self._plugin, prefix)
        if former and former != self.value:
            self._dropped()

    def release(self) -> None:
        """Hold none."""
        former, self.value = self.value, ""
        self._claims.release(self._plugin)
        if former:
            self._dropped()

    def take_meanwhile(self, prefix: str) -> None:
        """Hold ``prefix`` until the plugin can say what it claims, so that its callers wait, or learn what is wrong.

        Nothing happens where it holds one, or where this one is not to be had.
        """
        if self.value or not prefix:
            return
        try:
            self.take(prefix)
        except PluginRefusedError as error:
            logger.debug("%s", error)
