"""The configuration in force: all sections, the variables beside them, and every path resolved."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.config.plugin_keys import PluginOverrides, TaskOverrides
from supervisor.config.settings import GatewaySettings, ManagerSettings, SupervisorSettings
from supervisor.state_folder import StateFolder


@dataclass(frozen=True)
class Configuration:
    """Made by ``source.load`` and never changed; a reload makes another one. Relative paths start at ``folder``."""

    path: Path
    """config.json itself, absolute."""
    manager: ManagerSettings
    gateway: GatewaySettings
    supervisor: SupervisorSettings
    plugins: Mapping[str, PluginOverrides]
    tasks: Mapping[str, TaskOverrides]
    data_url: str | None
    """DATA_URL as written."""
    log_level: str
    """LOG_LEVEL: DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    override_sources: Mapping[str, str]
    """Dotted keys that the environment or the dotenv file sets, each with the variable that does, for messages."""

    @property
    def overridden(self) -> frozenset[str]:
        """Dotted keys that the environment or the dotenv file sets."""
        return frozenset(self.override_sources)

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def state_dir(self) -> Path:
        return self.resolve(self.supervisor.state_dir)

    @property
    def plugins_directory(self) -> Path:
        return self.resolve(self.manager.plugins.directory)

    @property
    def tasks_directory(self) -> Path:
        return self.resolve(self.manager.tasks.directory)

    @property
    def base_environment(self) -> Path | None:
        """None: the one that is shipped."""
        return self.resolve(self.supervisor.base_environment) if self.supervisor.base_environment else None

    @property
    def log_file(self) -> Path | None:
        return self.resolve(self.manager.log.file) if self.manager.log.file else None

    @property
    def dotenv(self) -> Path | None:
        return self.resolve(self.manager.dotenv) if self.manager.dotenv else None

    @property
    def ssl_certfile(self) -> Path | None:
        return self.resolve(self.gateway.ssl_certfile) if self.gateway.ssl_certfile else None

    @property
    def ssl_keyfile(self) -> Path | None:
        return self.resolve(self.gateway.ssl_keyfile) if self.gateway.ssl_keyfile else None

    @property
    def database_url(self) -> str:
        """The manager database; a SQLite file is named by its absolute path."""
        if self.data_url is None:
            return f"sqlite:///{StateFolder(self.state_dir).database}"
        relative = re.fullmatch(r"(sqlite(?:\+\w+)?:///)(?!/)(.+)", self.data_url)
        return f"{relative[1]}{self.folder}/{relative[2]}" if relative else self.data_url

    def resolve(self, written: str) -> Path:
        """The absolute form of a path of config.json. Symbolic links stay, so that people recognise their paths."""
        return Path(os.path.normpath(self.folder / written))

    def is_overridden(self, key: str) -> bool:
        """Whether changing ``key`` in config.json would have no effect, or not all of its effect."""
        return self.override_source(key) is not None

    def override_source(self, key: str) -> str | None:
        """The variable that keeps a change of ``key`` in config.json from having all of its effect; None: no one."""
        for other, source in self.override_sources.items():
            if key == other or key.startswith((f"{other}.", f"{other}[")) or other.startswith(f"{key}."):
                return source
        return None

    def plugin_overrides(self, name: str) -> dict[str, Any]:
        """What ``plugins.<name>`` says, for parse_manifest."""
        return self.plugins[name].given() if name in self.plugins else {}

    def task_keys(self, name: str) -> TaskOverrides:
        """The keys of one task, defaults filled in."""
        return self.tasks.get(name) or TaskOverrides()
