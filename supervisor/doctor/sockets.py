"""Unix sockets in the state folder, and the port of the gateways."""

import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from supervisor.channels.peer import peer_credentials
from supervisor.doctor.finding import Finding, missing, ok
from supervisor.doctor.folder import scratch
from supervisor.state_folder import MAX_SOCKET_PATH, StateFolder

_TIMEOUT = 2.0
"""Seconds; the other end is our own."""


# --- Unix sockets ---------------------------------------------------------------------------------------------


def path_length(folder: StateFolder) -> Finding:
    return judge_path_length(len(os.fsencode(folder.longest_socket())))


def judge_path_length(length: int) -> Finding:
    """``length``: bytes of the longest path."""
    found = f"{length} of {MAX_SOCKET_PATH} bytes"
    if length <= MAX_SOCKET_PATH:
        return ok(found)
    shorter = f"let supervisor.state_dir name a folder whose path is {length - MAX_SOCKET_PATH} bytes shorter"
    return missing(found, advice=shorter)


def unix_sockets(where: Path) -> Finding:
    """Connect two ends, ask who is at the other one, and pass a descriptor."""
    with scratch(where) as folder, socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as here:
        path = str(Path(folder, "s"))
        listening.bind(path)
        listening.listen(1)
        here.settimeout(_TIMEOUT)
        here.connect(path)
        there, _ = listening.accept()
        with there:
            there.settimeout(_TIMEOUT)
            return judge_unix_sockets(peer_credentials(there).pid, os.getpid(), passes_descriptor=_passes(here, there))


def judge_unix_sockets(peer: int, own: int, *, passes_descriptor: bool) -> Finding:
    """``peer``: pid that the kernel told of the other end, which is this process, ``own``."""
    if peer != own:
        return missing(f"SO_PEERCRED names process {peer}, and it is {own}")
    return ok("SO_PEERCRED and SCM_RIGHTS work") if passes_descriptor else missing("SCM_RIGHTS passes no descriptor")


def _passes(here: socket.socket, there: socket.socket) -> bool:
    with Path(os.devnull).open("rb") as file:
        socket.send_fds(here, [b"!"], [file.fileno()])
        _, passed, _, _ = socket.recv_fds(there, 1, 1)
        try:
            return [os.fstat(fd).st_rdev for fd in passed] == [os.fstat(file.fileno()).st_rdev]
        finally:
            for fd in passed:
                os.close(fd)


# --- who runs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A supervisor that answers. ``url``: of its gateways, "" before they are there."""

    pid: int
    url: str


def running(folder: StateFolder) -> Running | None:
    """Who listens on the command socket: asked by connecting, which takes no lock and asks for nothing."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_TIMEOUT)
        try:
            sock.connect(str(folder.command_socket))
        except OSError:
            return None
        pid = peer_credentials(sock).pid
    url = ""
    with suppress(OSError, ValueError, LookupError, TypeError):
        url = json.loads(folder.gateway_file.read_text(encoding="utf-8"))["url"]
    return Running(pid, url)


def judge_running(found: Running | None) -> Finding:
    if found is None:
        return ok("none runs here")
    return ok(f"process {found.pid} runs, {found.url or 'and does not serve yet'}")


# --- port -----------------------------------------------------------------------------------------------------


def port(host: str, number: int, folder: StateFolder) -> Finding:
    """Bind the address without listening, which disturbs nobody; not while the supervisor of ``folder`` has it."""
    supervisor = running(folder)
    if supervisor is not None:
        return ok(f"process {supervisor.pid}, the supervisor of this project, has it")
    if number == 0:
        return ok("any that is free")
    try:
        _bind(host, number)
    except OSError as error:
        return missing(f"cannot listen on {host} port {number}: {error.strerror or error}{_by(_holders(number))}")
    return ok(f"{host} port {number} is free")


def _bind(host: str, number: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as sock:
        # Else connections that have just ended would count; who listens is found all the same.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)


def _holders(number: int) -> list[str]:
    """Who listens there, as far as that may be known: sockets of other users are nobody's."""
    names = set()
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            # Those that listen have an address.
            _, there = connection.laddr or ("", 0)
            if connection.status == psutil.CONN_LISTEN and there == number and connection.pid:
                with suppress(psutil.Error):
                    names.add(f"{psutil.Process(connection.pid).name()} (pid {connection.pid})")
    return sorted(names)


def _by(holders: Sequence[str]) -> str:
    return f"; held by {', '.join(holders)}" if holders else ""
