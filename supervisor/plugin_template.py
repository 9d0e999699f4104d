"""The template of one plugin's workers, as long as there is one."""

from collections.abc import Callable, Mapping

from plugin_runtime.protocol import Cause
from supervisor.config.policies import restart_policy
from supervisor.plugin_services import PluginServices
from supervisor.preparation import Prepared
from supervisor.template import Template
from supervisor.worker_spec import template_spec


class PluginTemplate:
    """Started with the workers and retired with them."""

    def __init__(self, services: PluginServices) -> None:
        self._services = services
        self._template: Template | None = None
        self._notes: Mapping[str, str] = {}

    @property
    def notes(self) -> list[str]:
        """What does not work and keeps nobody from being served."""
        return list(self._notes.values())

    def provide(self, prepared: Prepared, learned: Callable[[list[str]], None]) -> None:
        """``learned``: told which modules its forks had to import themselves."""
        if self._template is not None:
            return
        template = _template_of(prepared, self._services, learned) if prepared.build.manifest.template else None
        self._notes = template.notes if template else {}
        if template is not None and self._services.births.can_use(template):
            self._services.births.enter(template)
            template.start()
            self._template = template

    async def retire(self, cause: Cause, actor: str) -> None:
        """End it, if there is one; what it has forked is not touched."""
        template, self._template = self._template, None
        if template is not None:
            self._services.births.leave(template)
            await template.retire(cause, actor)


def _template_of(prepared: Prepared, services: PluginServices, learned: Callable[[list[str]], None]) -> Template:
    settings = services.configuration.supervisor
    return Template(
        template_spec(prepared.build, restart_policy(settings.restart)),
        prepared.description.modules,
        settings.adopt_grace,
        services.templates,
        learned,
        prepared.build.manifest.preload,
    )
