"""What is known of the project before anything is tried: its configuration, and how much it will run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor.config.configuration import Configuration
from supervisor.config.source import load
from supervisor.doctor.finding import Finding, missing, ok
from supervisor.errors import ConfigurationError
from supervisor.state_folder import StateFolder

JOB_RUNS = 8
"""Runs of jobs at one time that a project is expected to have at most."""
_SMALL = 10
"""Plugins with one instance that the machine is judged by where there is no project."""


@dataclass(frozen=True)
class Project:
    """``configuration``: None where there is none, or none that is valid, as ``error`` says then."""

    configuration: Configuration | None = None
    error: ConfigurationError | None = None

    @classmethod
    def find(cls, config: Path | None, environ: Mapping[str, str]) -> "Project":
        """``config``: the configuration file, None to look at the machine only."""
        if config is None:
            return cls()
        try:
            return cls(load(config, environ))
        except ConfigurationError as error:
            return cls(error=error)

    @property
    def state_folder(self) -> StateFolder | None:
        return StateFolder(self.configuration.state_dir) if self.configuration else None

    @property
    def processes(self) -> int:
        """That will run at one time, estimated: template and workers of each plugin, tasks, gateways, runs of jobs."""
        if self.configuration is None:
            return 2 * _SMALL + JOB_RUNS + 1
        overrides = self.configuration.plugins
        plugins = _names(self.configuration.plugins_directory)
        workers = sum(overrides[name].instances if name in overrides else 1 for name in plugins)
        tasks = len(_names(self.configuration.tasks_directory))
        return len(plugins) + workers + tasks + self.configuration.gateway.processes + JOB_RUNS

    def judge(self) -> Finding:
        """Whether the configuration is usable."""
        if self.error is not None:
            place = f"{self.error.source}: {self.error.key}" if self.error.key else self.error.source
            return missing(f"{place}: {self.error.problem}", advice=self.error.hint)
        if self.configuration is None:
            return ok("there is none here; only the machine was examined")
        return ok(f"{self.configuration.path} is valid")


def _names(directory: Path) -> list[str]:
    """Entries that may be plugins or tasks; none where the directory cannot be read: that is not for us to say."""
    try:
        return [path.name for path in directory.iterdir() if not path.name.startswith((".", "__"))]
    except OSError:
        return []
