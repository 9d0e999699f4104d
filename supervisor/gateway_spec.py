"""What gateways are started with."""

import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

from plugin_runtime import __version__
from plugin_runtime.protocol import GatewaySettings, Kind
from plugin_runtime.wire import to_wire
from supervisor.config.configuration import Configuration
from supervisor.config.policies import liveness_policy, restart_policy
from supervisor.spawn import clean_environment
from supervisor.spec import ChildSpec


def gateway_spec(configuration: Configuration, number: int, door: socket.socket, url: str) -> ChildSpec:
    """Gateway ``number``, from 1; it inherits ``door``, which is reached at ``url``."""
    return ChildSpec(
        id=f"{Kind.GATEWAY.value}.{number}",
        name=Kind.GATEWAY.value,
        kind=Kind.GATEWAY,
        command=(sys.executable, "-I", "-u", "-X", "utf8", "-m", "gateway"),
        working_directory=configuration.folder,
        environment=clean_environment(os.environ),
        settings=_settings(configuration, door, url),
        pass_fds=(door.fileno(),),
        restart=restart_policy(configuration.supervisor.restart),
        liveness=liveness_policy(configuration.supervisor.heartbeat),
    )


def _settings(configuration: Configuration, door: socket.socket, url: str) -> Mapping[str, Any]:
    """The wire form of its GatewaySettings; where it hands the door over is each process's own."""
    options = configuration.gateway.model_dump(mode="json")
    paths = {"ssl_certfile": configuration.ssl_certfile, "ssl_keyfile": configuration.ssl_keyfile}
    options.update({key: str(path) for key, path in paths.items() if path is not None})
    settings: Mapping[str, Any] = to_wire(
        GatewaySettings(
            listen_fd=door.fileno(),
            url=url,
            options=options,
            adopt_grace=configuration.supervisor.adopt_grace,
            version=__version__,
        )
    )
    return settings
