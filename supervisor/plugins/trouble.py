"""The boundary of a plugin: what keeps it, or its newest code, from being served, and whether that is tried again."""

import logging
import random
from collections.abc import Coroutine
from typing import Any

from plugin_runtime.views import PluginError
from supervisor.clock import Clock
from supervisor.errors import PluginRefusedError
from supervisor.plugins.held_prefix import HeldPrefix
from supervisor.preparation.preparation import PreparationError
from supervisor.preparation.worker_spec import default_prefix
from supervisor.spec import RestartPolicy
from supervisor.supervision.retries import INTERNAL, Retries

logger = logging.getLogger(__name__)


class PluginTrouble:
    """Whatever goes wrong with a plugin ends here, and is shown."""

    def __init__(self, plugin: str, held: HeldPrefix, clock: Clock, policy: RestartPolicy) -> None:
        self.error: PluginError | None = None
        """What was wrong last; it stays until it is known to be mended."""
        self.awaits_prefix = False
        """It was refused; what it wants may be had later."""
        self._plugin = plugin
        self._held = held
        self._clock = clock
        self._retries = Retries(policy)

    @property
    def is_due(self) -> bool:
        """Whether what did not work is to be tried again."""
        return self._retries.is_due(self._clock.monotonic())

    @property
    def builds_anew(self) -> bool:
        """Whether the next try builds another environment: somebody has asked for that, and there is none yet."""
        return self._retries.anew

    @builds_anew.setter
    def builds_anew(self, wanted: bool) -> None:
        self._retries.anew = wanted

    def begin(self, *, anew: bool, builds_anew: bool = False) -> None:
        """It is tried, whoever asked for it. ``anew``: there is something else to be tried than before."""
        self.awaits_prefix = False
        if anew:
            self._retries.renewed(anew=builds_anew)
        self._retries.begun()

    def clear(self) -> None:
        """Nothing is wrong, or nothing is wanted any more."""
        self.error, self.awaits_prefix = None, False
        self._retries.begun()

    def failed(self, error: PluginError) -> None:
        """It did not work."""
        self.error = error
        self._retries.failed(error, self._clock.monotonic(), random.random())  # noqa: S311 - jitter

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
            message = "failed inside xcore; its log has the details"
            hint = f"it is tried again by itself; at once with xcore plugin reload {self._plugin}"
            self.failed(PluginError(INTERNAL, type(error).__name__, message, hint=hint))
            logger.exception("Plugin %s %s", self._plugin, otherwise)
