"""Makes the runs of declared jobs, each with what its host gives it at that moment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from plugin_runtime.protocol import Cause
from plugin_runtime.views import ExitView
from supervisor.errors import ConflictError
from supervisor.jobs.former_runs import FormerRun
from supervisor.jobs.host import JobHost, RunProcess
from supervisor.jobs.live_log import LiveLog
from supervisor.jobs.request import ActiveRun, RunListener, RunRequest
from supervisor.jobs.run import Run, RunServices
from supervisor.jobs.shared_run import SharedRun
from supervisor.schedule.job_spec import JobSpec
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import SUPERVISOR
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree
from supervisor.works import Works


@dataclass(frozen=True)
class Declared:
    """A job and who starts its runs."""

    spec: JobSpec
    host: JobHost


class Launcher:
    """Implements RunFactory. Owns the tasks that take children out of the process table."""

    def __init__(
        self,
        declared: Mapping[str, Declared],
        around: Surroundings,
        tree: Tree,
        recorded: Callable[[ExitView], None],
    ) -> None:
        """``declared``: by id, as it is at any moment."""
        self._declared = declared
        self._services = RunServices(around, tree, recorded, self._retire)
        self._retiring = Works()

    def make(self, request: RunRequest, log: LiveLog, listener: RunListener) -> ActiveRun:
        """By what is declared now: what was asked for may have waited for long.

        Raises:
            ConflictError: it cannot be run now.
        """
        declared = self._declared.get(request.job.id)
        if declared is None:
            raise ConflictError("its job is not declared any more")
        request = replace(request, job=declared.spec)
        if declared.spec.shared:
            return SharedRun(request, declared.host.service, self._services.around.clock, listener)
        process = declared.host.run_process(declared.spec, request.id)
        return Run(request, process, self._services, log, listener)

    def resume(self, request: RunRequest, former: FormerRun, log: LiveLog, listener: RunListener) -> ActiveRun:
        host = self._declared[request.job.id].host
        if former.process is None:
            return SharedRun(request, host.service, self._services.around.clock, listener, former=former)
        process = host.run_process(request.job, request.id)
        # Of the version that it was begun with, whatever is declared by now.
        spec = replace(process.spec, generation=former.process.generation, command=former.process.command)
        services = replace(self._services, around=self._services.around.only(former.process))
        return Run(request, RunProcess(spec, former.process.settings), services, log, listener, former)

    def _retire(self, child: Child) -> None:
        """Later: whoever says that it has ended is about to settle it."""
        removal = self._services.tree.remove(child, Cause.FINISHED, SUPERVISOR)
        self._retiring.begin(removal, f"retire-{child.spec.id}")
