"""The templates of plugins: one for all that are alike.

Alike are those whose templates would be the same process: same interpreter, which is that of an environment, same
variables but for those that no library reads, same working directory and time limit, same ``preload``, and the same
packages imported that are not Python's own. So nothing that one of them alone imports ever is in another's processes.
What a plugin imports beyond that later is written down for it, and leads it to another template at its next start.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

from plugin_runtime.protocol import Cause
from supervisor.config.policies import restart_policy
from supervisor.config.settings import SupervisorSettings
from supervisor.preparation.preparation import Prepared
from supervisor.preparation.worker_spec import SHARED, template_spec
from supervisor.spec import ChildSpec
from supervisor.supervision.child_events import SUPERVISOR
from supervisor.templates.births import Births
from supervisor.templates.member import Member
from supervisor.templates.module_list import ModuleList
from supervisor.templates.template import Template, TemplateServices
from supervisor.works import Works


class TemplatePool:
    """Starts a template with its first member, and retires it with the last."""

    def __init__(self, births: Births, services: TemplateServices, settings: SupervisorSettings) -> None:
        self._births = births
        self._services = services
        self._settings = settings
        self._templates: list[Template] = []
        self._members: dict[str, Member] = {}
        self._retirements = Works()

    def provide(self, prepared: Prepared, learned: Callable[[list[str]], None]) -> Member | None:
        """Have a template for this plugin: the one it has, if it still belongs there, that of others, or a new one.

        Old processes may run on beside those of ``prepared``. ``learned``: told which modules its forks had to import
        themselves. None: it shall have none. One that cannot be forked is told so in its notes.
        """
        build, preload = prepared.build, tuple(prepared.build.manifest.preload)
        former = self._members.get(build.name)
        if not build.manifest.template:
            self._retire_soon(self._withdraw(build.name))
            return None
        spec = template_spec(build, restart_policy(self._settings.restart))
        modules = [*prepared.description.modules, *preload]
        packages = ModuleList(modules).packages
        if former is not None and _may_stay(former, spec, preload, packages):
            former.renew(modules, learned)
            return former
        member = Member(build.name, self._find(spec, preload, packages), modules, learned)
        if self._births.can_use(member):
            self._enter(member)
            self._retire_soon(self._part(former))
        else:
            self._retire_soon(self._withdraw(build.name))
        return member

    async def leave(self, name: str, cause: Cause, actor: str) -> None:
        """Fork nothing more for this plugin. What was forked is not touched, nor a template that others need."""
        template = self._withdraw(name)
        if template is not None:
            await template.retire(cause, actor)

    async def close(self) -> None:
        """Give up what is under way; the processes are the tree's to stop."""
        await self._retirements.close()

    def _find(self, spec: ChildSpec, preload: tuple[str, ...], packages: frozenset[str]) -> Template:
        """Return the template of those that are alike, or one that is not started yet."""
        alike = (one for one in self._templates if one.owners and one.is_for(spec, preload))
        found = next((one for one in alike if one.packages == packages), None)
        return found or Template(self._named(spec), preload, self._settings.adopt_grace, self._services)

    def _named(self, spec: ChildSpec) -> ChildSpec:
        """With a number, the lowest that is free, where there may be several for one environment."""
        if spec.name != SHARED:
            return spec
        taken = {template.child.spec.id for template in self._templates}
        names = (f"{SHARED}.{number}.template" for number in count(1))
        return replace(spec, id=next(name for name in names if name not in taken))

    def _enter(self, member: Member) -> None:
        member.join()
        if member.template not in self._templates:
            self._templates.append(member.template)
            member.template.start()
        self._births.enter(member)
        self._members[member.owner] = member

    def _withdraw(self, name: str) -> Template | None:
        """Return the template if it is to be retired: nobody needs it any more."""
        self._births.leave(name)
        return self._part(self._members.pop(name, None))

    def _part(self, member: Member | None) -> Template | None:
        """Return the template if it is to be retired; ``member`` has been replaced or taken away."""
        if member is None:
            return None
        member.leave()
        template = member.template
        if any(other.template is template for other in self._members.values()):
            template.stop_unless_needed()
            return None
        self._templates.remove(template)
        return template

    def _retire_soon(self, template: Template | None) -> None:
        if template is not None:
            self._retirements.begin(template.retire(Cause.RELOAD, SUPERVISOR), f"retire-{template.child}")


def _may_stay(member: Member, spec: ChildSpec, preload: tuple[str, ...], packages: frozenset[str]) -> bool:
    """Whether its template is right for another generation, too: one that brings nothing new to it.

    What the template has beyond that is the plugin's own, from an import that its validator did not see.
    """
    template = member.template
    return not member.is_patching and template.is_for(spec, preload) and packages <= template.packages
