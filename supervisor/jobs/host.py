"""Who declares jobs, and starts processes for their runs: a task, a plugin."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from supervisor.child import Child
from supervisor.schedule.job_spec import JobSpec
from supervisor.spec import ChildSpec


@dataclass(frozen=True)
class RunProcess:
    """What the process of one run is started with. ``settings``: the wire form of its TaskSettings."""

    spec: ChildSpec
    settings: Mapping[str, Any]


class JobHost(Protocol):
    """Called by TaskManager, in the event loop's thread."""

    @property
    def name(self) -> str:
        """The owner of its jobs."""

    def run_process(self, job: JobSpec, run: str) -> RunProcess:
        """What run ``run`` is started with now.

        Raises:
            ConflictError: it cannot be run now; the run is skipped and shows why.
        """

    @property
    def service(self) -> Child | None:
        """The child whose process takes shared runs; None where there is none."""
