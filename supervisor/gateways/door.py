"""The listening socket: bound here, inherited by gateways, so that replacing one of them refuses no connection.

A supervisor that takes over from a dead one does not bind it anew but asks one of the gateways for it, and for that of
the local side (local_side.py), which it has as well.
"""

import asyncio
import ipaddress
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from errno import ECONNREFUSED
from pathlib import Path

from supervisor.config.configuration import Configuration
from supervisor.errors import ConfigurationError

BACKLOG = 4096
"""Connections that wait while all gateways are busy or being replaced; the kernel caps it at net.core.somaxconn."""

MOST_DESCRIPTORS = 16
"""That one message of a gateway may bring; it has two."""

RETRY_INTERVAL = 0.05
"""Seconds between two tries to bind; the kernel tells nobody that a port has become free."""


@dataclass(frozen=True)
class Doors:
    """Listening sockets that a gateway has handed over; whoever has them closes them."""

    public: socket.socket
    local: socket.socket | None
    """None: the gateway is of a version that had none."""

    def close(self) -> None:
        self.public.close()
        if self.local is not None:
            self.local.close()


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


def ask_for_doors(path: Path, nonce: str, timeout: float) -> Doors:
    """Get the listening sockets from the gateway that hands them over at ``path`` and was started with ``nonce``.

    Blocks for at most ``timeout`` seconds. The gateway goes on accepting; the sockets are the caller's to close.

    Raises:
        OSError: there is no gateway, it does not know us, it took too long, or what it sent are no listening sockets.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gateway:
        gateway.settimeout(timeout)
        gateway.connect(str(path))
        gateway.sendall(f"{nonce}\n".encode("ascii"))
        gateway.settimeout(max(0.001, deadline - time.monotonic()))
        _, descriptors, _, _ = socket.recv_fds(gateway, 64, MOST_DESCRIPTORS)
    return _doors_of(path, descriptors)


def is_as_configured(door: socket.socket, configuration: Configuration) -> bool:
    """Whether ``door`` listens on ``gateway.host`` and ``gateway.port``; port 0 asks for any.

    Blocks for the resolver where the host is a name; one that does not resolve is no match.
    """
    host, port = configuration.gateway.host, configuration.gateway.port
    address, bound = door.getsockname()[:2]
    if port not in {0, bound}:
        return False
    try:
        family = _family(host, port)
        wanted = {entry[4][0] for entry in socket.getaddrinfo(host, port, family, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return door.family == family and address in wanted


def refuse_open_door(configuration: Configuration) -> None:
    """Let nobody but this machine in where errors are shown with their tracebacks. Blocks for the resolver.

    Raises:
        ConfigurationError: ``gateway.host`` is reached from elsewhere.
    """
    host = configuration.gateway.host
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return  # who binds it says so better
    if not all(ipaddress.ip_address(str(address)).is_loopback for address in addresses):
        raise ConfigurationError(
            str(configuration.path),
            "gateway.host",
            f"cannot run with --dev on {host}: other machines would be shown tracebacks and log lines",
            hint='set it to "127.0.0.1", or leave --dev out',
        )


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


def _doors_of(path: Path, descriptors: list[int]) -> Doors:
    """What these descriptors are; where they are something else they are closed.

    Raises:
        OSError: they are not one listening socket, or two of which the second is a Unix socket.
    """
    received = []
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # recv_fds passes no flags on; children get it by pass_fds only
        try:
            received.append(socket.socket(fileno=descriptor))
        except OSError:  # no socket at all
            with suppress(OSError):
                os.close(descriptor)
    if len(received) == len(descriptors) and all(_listens(door) for door in received):
        match received:
            case [public]:
                return Doors(public, None)
            case [public, local] if local.family == socket.AF_UNIX:
                return Doors(public, local)
    for door in received:
        door.close()
    raise ConnectionRefusedError(ECONNREFUSED, f"the gateway at {path} did not hand over a listening socket")


def _listens(door: socket.socket) -> bool:
    return bool(door.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
