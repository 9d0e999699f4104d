"""What makes environments, copies and descriptions of foreign code: the parts, put together."""

import os
from dataclasses import dataclass

from supervisor.config.live import LiveConfiguration
from supervisor.environments.build_log import BuildLogs
from supervisor.environments.builder import Builder, BuildSettings
from supervisor.environments.installer import Installer
from supervisor.environments.interpreters import Interpreters
from supervisor.environments.package_index import PackageIndex
from supervisor.environments.runtime import Runtime
from supervisor.preparation.generations import Generations
from supervisor.preparation.preparation import Preparation
from supervisor.preparation.validation import Validator
from supervisor.state_folder import StateFolder
from supervisor.supervision.programs import Programs


@dataclass(frozen=True)
class Workshop:
    """Adapters, each owned by nobody else."""

    builder: Builder
    installer: Installer
    runtime: Runtime
    generations: Generations
    validator: Validator
    preparation: Preparation
    build_logs: BuildLogs


def make_workshop(
    live: LiveConfiguration, folder: StateFolder, programs: Programs, validator: Validator, *, offline: bool = False
) -> Workshop:
    """``folder``: where environments are; copies of code and data go where the configuration says."""
    configuration = live.current
    index = PackageIndex(programs, os.environ, configuration.supervisor.index_url)
    logs, generations = BuildLogs(folder.build_logs), Generations(StateFolder(configuration.state_dir).generations)
    settings = BuildSettings(offline=offline)
    builder = Builder(folder.environments / ".cache", programs, index, logs, os.environ, settings)
    interpreters = Interpreters(programs, os.environ, folder.interpreters)
    installer = Installer(folder.environments, builder, interpreters, configuration.base_environment)
    runtime = Runtime(folder.runtime, builder)
    preparation = Preparation(live, installer, runtime, generations, validator)
    return Workshop(builder, installer, runtime, generations, validator, preparation, logs)
