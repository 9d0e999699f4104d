"""The template of all tasks that stand on the base environment."""

import os

from plugin_runtime.protocol import ENV_RUNTIME, Cause
from supervisor.config.live import LiveConfiguration
from supervisor.config.plugin_keys import ProcessKeys
from supervisor.config.policies import restart_policy
from supervisor.environments.installer import BASE
from supervisor.preparation.worker_spec import template_of
from supervisor.processes.spawn import clean_environment
from supervisor.supervision.child_events import SUPERVISOR
from supervisor.tasks.spec import TaskBuild
from supervisor.templates.births import Births
from supervisor.templates.member import Member
from supervisor.templates.template import Template, TemplateServices
from supervisor.works import Works


class BaseTemplate:
    """Started with the first of these tasks; what they import it learns from them."""

    def __init__(self, live: LiveConfiguration, births: Births, services: TemplateServices) -> None:
        self._live = live
        self._births = births
        self._services = services
        self._template: Template | None = None
        self._retiring = Works()

    def provide(self, build: TaskBuild) -> None:
        """Have one for this task, if it stands on the base environment; another than before where that has changed."""
        python = str(build.ground.environment.python)
        former = self._template
        if build.ground.plugin is not None or (former is not None and former.interpreter == python):
            return
        template = self._make(build)
        member = Member(BASE, template, (), lambda _modules: None)
        member.join()
        template.start()
        self._births.enter(member)
        self._template = template
        if former is not None:
            self._retiring.begin(former.retire(Cause.RELOAD, SUPERVISOR), f"retire-{former.child}")

    def _make(self, build: TaskBuild) -> Template:
        settings = self._live.current.supervisor
        # No variable of any task's own: the environment that a process began with can be read by all it forks.
        variables = {**clean_environment(os.environ), ENV_RUNTIME: str(build.ground.guest_packages)}
        spec = template_of(
            BASE,
            build.command[:-1],
            build.working_directory,
            variables,
            restart=restart_policy(settings.restart),
            start_timeout=ProcessKeys().start_timeout,
        )
        return Template(spec, (), settings.adopt_grace, self._services)
