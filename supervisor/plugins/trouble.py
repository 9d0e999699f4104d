"""The boundary of a plugin: whatever goes wrong with it ends here, and is shown."""

import logging
from collections.abc import Coroutine
from typing import Any

from plugin_runtime.views import PluginError
from supervisor.clock import Clock
from supervisor.errors import PluginRefusedError
from supervisor.plugins.held_prefix import HeldPrefix
from supervisor.preparation.preparation import PreparationError
from supervisor.preparation.worker_spec import default_prefix
from supervisor.spec import RestartPolicy
from supervisor.supervision.trouble import Trouble

logger = logging.getLogger(__name__)


class PluginTrouble(Trouble):
    """Of one plugin."""

    def __init__(self, plugin: str, held: HeldPrefix, clock: Clock, policy: RestartPolicy) -> None:
        super().__init__(clock, policy)
        self.awaits_prefix = False
        """It was refused; what it wants may be had later."""
        self._plugin = plugin
        self._held = held

    def begin(self, *, anew: bool, builds_anew: bool = False) -> None:
        self.awaits_prefix = False
        super().begin(anew=anew, builds_anew=builds_anew)

    def clear(self) -> None:
        self.awaits_prefix = False
        super().clear()

    async def guard(self, step: Coroutine[Any, Any, None], otherwise: str) -> None:
        """Take a step; what goes wrong with it is nobody else's trouble. ``otherwise``: what becomes of the plugin."""
        try:
            await step
        except PreparationError as error:
            self.failed(error.error)
            # Code that cannot be imported cannot say its prefix: callers of the default shall learn that it failed.
            self._held.take_meanwhile(default_prefix(self._plugin))
            logger.error("Plugin %s %s (%s): %s", self._plugin, otherwise, error.error.phase, error.told)  # noqa: TRY400
        except PluginRefusedError as error:
            self.awaits_prefix = True
            self.error = PluginError("manifest", "PluginRefused", error.message, hint=error.hint)
            logger.error("%s", error)  # noqa: TRY400 - a sentence for the operator; the traceback would be ours
        except Exception as error:
            self.failed_inside(error, f"xcore plugin reload {self._plugin}")
            logger.exception("Plugin %s %s", self._plugin, otherwise)
