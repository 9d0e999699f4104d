"""What gateways are started with."""

import hashlib
import json
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
from supervisor.processes.spawn import clean_environment
from supervisor.spec import ChildSpec

_HASH_LENGTH = 16
_ITS_OWN = {"host", "port"}
"""Keys that the door was bound by; the gateway knows its ``url``."""

_DESCRIPTORS = ("listen_fd", "local_fd")
"""Keys whose values are each supervisor's own."""


def gateway_spec(
    configuration: Configuration,
    number: int,
    door: socket.socket,
    local: socket.socket,
    url: str,
    *,
    development: bool,
) -> ChildSpec:
    """Gateway ``number``, from 1; it inherits ``door``, reached at ``url``, and ``local``, that of the local side.

    ``development``: it may tell clients on this machine why a plugin cannot be served.
    """
    settings = _settings(configuration, door, local, url, development=development)
    return ChildSpec(
        id=f"{Kind.GATEWAY.value}.{number}",
        name=Kind.GATEWAY.value,
        kind=Kind.GATEWAY,
        command=(sys.executable, "-I", "-u", "-X", "utf8", "-m", "gateway"),
        working_directory=configuration.folder,
        environment=clean_environment(os.environ),
        settings=settings,
        pass_fds=(door.fileno(), local.fileno()),
        generation=_generation(settings),
        restart=restart_policy(configuration.supervisor.restart),
        liveness=liveness_policy(configuration.supervisor.heartbeat),
    )


def _settings(
    configuration: Configuration, door: socket.socket, local: socket.socket, url: str, *, development: bool
) -> Mapping[str, Any]:
    """The wire form of its GatewaySettings; where it hands the door over is each process's own."""
    options = configuration.gateway.model_dump(mode="json", exclude=_ITS_OWN)
    paths = {"ssl_certfile": configuration.ssl_certfile, "ssl_keyfile": configuration.ssl_keyfile}
    options.update({key: str(path) for key, path in paths.items() if path is not None})
    settings: Mapping[str, Any] = to_wire(
        GatewaySettings(
            listen_fd=door.fileno(),
            url=url,
            options=options,
            adopt_grace=configuration.supervisor.adopt_grace,
            version=__version__,
            local_fd=local.fileno(),
            development=development,
        )
    )
    return settings


def _generation(settings: Mapping[str, Any]) -> str:
    """Names what a gateway runs by: two of one generation answer alike, whatever their descriptors are called."""
    known = {**settings, **dict.fromkeys(_DESCRIPTORS)}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:_HASH_LENGTH]
