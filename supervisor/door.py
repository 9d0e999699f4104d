"""The listening socket: bound here, inherited by gateways, so that replacing one of them refuses no connection."""

import asyncio
import ipaddress
import socket
import time

from supervisor.config.configuration import Configuration
from supervisor.errors import ConfigurationError

BACKLOG = 4096
"""Connections that wait while all gateways are busy or being replaced; the kernel caps it at net.core.somaxconn."""

RETRY_INTERVAL = 0.05
"""Seconds between two tries to bind; the kernel tells nobody that a port has become free."""


def bind_door(configuration: Configuration) -> socket.socket:
    """Bind ``gateway.host`` and ``gateway.port`` and listen.

    Raises:
        ConfigurationError: the address is not to be had.
    """
    host, port = configuration.gateway.host, configuration.gateway.port
    try:
        return socket.create_server(
            (host, port), family=_family(host, port), backlog=BACKLOG, dualstack_ipv6=host == "::"
        )
    except OSError as error:
        raise ConfigurationError(
            str(configuration.path),
            "gateway",
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            hint="set gateway.port to another one, or to 0 for any that is free",
        ) from error


async def wait_for_door(configuration: Configuration, patience: float) -> socket.socket:
    """Bind the door, for which a dead supervisor's gateway may still hold the port for up to ``patience`` seconds.

    Raises:
        ConfigurationError: the address is not to be had in time.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return bind_door(configuration)
        except ConfigurationError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(RETRY_INTERVAL)


def url_of(door: socket.socket, *, tls: bool) -> str:
    """How to reach it from this machine."""
    host, port = door.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")  # noqa: PLR2004
    shown = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
