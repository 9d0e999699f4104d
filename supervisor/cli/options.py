"""Options that most commands share, and the connection that they describe."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from supervisor.cli import client, remote
from supervisor.state_folder import StateFolder

ConfigOption = Annotated[Path, typer.Option("--config", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
UrlOption = Annotated[
    str, typer.Option("--url", help="Ask a gateway over HTTP instead, with the token in XCORE_TOKEN.", metavar="URL")
]
WaitOption = Annotated[float, typer.Option("--wait", help="Seconds to wait until it is done; 0 = do not wait.")]

DEFAULT_CONFIG = Path("config.json")


@dataclass(frozen=True)
class Target:
    """The running xcore that a command speaks to: the supervisor of a configuration file, or a remote gateway."""

    config: Path
    url: str = ""

    def call(self, operation: str, timeout: float = 30.0, **arguments: Any) -> Any:
        """Carry out one operation of supervisor/operations.py.

        Raises:
            NotRunningError: nobody answers.
            OperationFailedError: the answer was an error.
            ConfigurationError: the configuration file is not usable.
        """
        if self.url:
            return remote.call(self.url, os.environ.get("XCORE_TOKEN", ""), operation, timeout, arguments)
        return client.call(state_folder(self.config).command_socket, operation, timeout, **arguments)


def state_folder(config: Path) -> StateFolder:
    from supervisor.config.source import load  # noqa: PLC0415 - pydantic takes a while, and --url does not need it

    return StateFolder(load(config, os.environ).state_dir)
