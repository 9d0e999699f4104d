"""Who is at the other end of a Unix socket: SO_PEERCRED (unix(7)), which the kernel fills in and nobody can forge."""

import os
import socket
import struct
from dataclasses import dataclass

import psutil

_UCRED = struct.Struct("3i")


@dataclass(frozen=True)
class PeerCredentials:
    """The process that connected, as it was at that moment."""

    pid: int
    uid: int
    gid: int


def peer_credentials(sock: socket.socket) -> PeerCredentials:
    return PeerCredentials(*_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


def descends_from_us(pid: int) -> bool:
    """Whether ``pid`` is one of our processes or was started by one.

    A daemon that left its parents behind is found as well: the supervisor is a subreaper, so it ends up as our child. A
    process that vanished meanwhile counts as ours, the side that refuses.
    """
    try:
        return any(parent.pid == os.getpid() for parent in psutil.Process(pid).parents())
    except psutil.Error:
        return True
