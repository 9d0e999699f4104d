"""The jobs of a plugin's manifest, declared whenever the plugin is brought up."""

import logging
from collections.abc import Sequence
from typing import Protocol

from supervisor.jobs.host import JobHost
from supervisor.jobs.plugin_host import PluginJobHost
from supervisor.preparation.worker_spec import Build
from supervisor.schedule.declared import JobError, from_manifest
from supervisor.schedule.job_spec import JobKind, JobSpec
from supervisor.schedule.scheduler import machine_zone

logger = logging.getLogger(__name__)


class JobBook(Protocol):
    """Where jobs are declared: TaskManager."""

    def declare(self, host: JobHost, jobs: Sequence[JobSpec]) -> list[str]:
        """Replace the jobs of a host; returns what is wrong, in sentences."""

    def withdraw(self, owner: str, kind: JobKind | None = None) -> None:
        """Schedule none of an owner's jobs any more."""


def declare_jobs(book: JobBook, build: Build, adopt_grace: float) -> None:
    """Have the jobs of this build's manifest scheduled. One that cannot be is logged, and the plugin is served."""
    zone, jobs = machine_zone(), []
    for job in build.manifest.jobs:
        try:
            jobs.append(from_manifest(job, build.name, zone))
        except JobError as error:
            logger.error("Plugin %s: %s", build.name, error)  # noqa: TRY400 - a sentence for the plugin's author
    book.declare(PluginJobHost(build, adopt_grace), jobs)
