"""Who is at the other end of a Unix socket: SO_PEERCRED (unix(7)), which the kernel fills in and nobody can forge."""

import os
import socket
import struct
from collections.abc import Collection
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


def descends_from_us(pid: int, ours: Collection[int] = ()) -> bool:
    """Whether ``pid`` is one of our processes or was started by one; ``ours``: those that are not our children, too.

    A daemon that left its parents behind is found as well, if they were children of ours: the supervisor is a
    subreaper. A process that vanished meanwhile counts as ours, the side that refuses.
    """
    try:
        process = psutil.Process(pid)
        return pid in ours or any(parent.pid == os.getpid() or parent.pid in ours for parent in process.parents())
    except psutil.Error:
        return True
