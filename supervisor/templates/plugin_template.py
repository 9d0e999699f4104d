"""The template of one plugin's processes, as long as there is one; others may share it."""

from collections.abc import Callable

from plugin_runtime.protocol import Cause
from supervisor.preparation.preparation import Prepared
from supervisor.templates.member import Member
from supervisor.templates.pool import TemplatePool


class PluginTemplate:
    """Had from the first of its workers on, until they are retired."""

    def __init__(self, plugin: str, pool: TemplatePool) -> None:
        self._plugin = plugin
        self._pool = pool
        self._member: Member | None = None

    @property
    def id(self) -> str:
        """In the process table; "" where nothing is forked."""
        return self._member.template.child.spec.id if self._member and self._member.is_forked else ""

    @property
    def notes(self) -> list[str]:
        """What does not work and keeps nobody from being served."""
        return self._member.notes if self._member else []

    def provide(self, prepared: Prepared, learned: Callable[[list[str]], None]) -> None:
        """Have the right one for this generation, which may be the one it has. Whatever was forked runs on.

        ``learned``: told which modules its forks had to import themselves.
        """
        self._member = self._pool.provide(prepared, learned)

    async def retire(self, cause: Cause, actor: str) -> None:
        """Do without; it ends if nobody else needs it. What it has forked is not touched."""
        await self._pool.leave(self._plugin, cause, actor)
