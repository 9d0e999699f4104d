"""Options that most commands share, and the connection that they describe."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from supervisor.cli import client, remote
from supervisor.errors import ConfigurationError
from supervisor.state_folder import StateFolder

ConfigOption = Annotated[Path, typer.Option("--config", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
UrlOption = Annotated[
    str, typer.Option("--url", help="Ask a gateway over HTTP instead, with the token in XCORE_TOKEN.", metavar="URL")
]
TailOption = Annotated[int, typer.Option("--tail", "-n", min=1, help="Lines from the end.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Then print what comes, until ^C.")]
WaitOption = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait until it is done; 0 = do not wait.")]

DEFAULT_CONFIG = Path("config.json")


@dataclass(frozen=True)
class Target:
    """The running xcore that a command speaks to: the supervisor of a configuration file, or a remote gateway."""

    config: Path
    url: str = ""

    def call(self, operation: str, timeout: float = 30.0, **arguments: Any) -> Any:
        """Carry out one operation of supervisor/channels/operations.py.

        Raises:
            NotRunningError: nobody answers.
            OperationFailedError: the answer was an error.
            ConfigurationError: the configuration file is not usable.
        """
        if self.url:
            if not self.url.startswith(("http://", "https://")):
                raise typer.BadParameter(
                    f"{self.url!r} is no URL; write it like http://127.0.0.1:8082", param_hint="--url"
                )
            return remote.call(self.url, os.environ.get("XCORE_TOKEN", ""), operation, timeout, arguments)
        return client.call(state_folder(self.config).command_socket, operation, timeout, **arguments)


def state_folder(config: Path) -> StateFolder:
    """Of the project whose configuration this is.

    A file that somebody is in the middle of changing must not keep the operator from what runs: then the folder is
    looked for where it is by default.
    """
    from supervisor.config.source import load  # noqa: PLC0415 - pydantic takes a while, and --url does not need it

    try:
        return StateFolder(load(config, os.environ).state_dir)
    except ConfigurationError:
        folder = StateFolder(config.absolute().parent / ".xcore")
        if not folder.command_socket.exists():
            raise
        return folder
