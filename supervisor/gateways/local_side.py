"""The socket by which plugins, tasks and jobs reach plugins: bound here, inherited by gateways, like the door.

So a call finds whichever gateway there is, and waits in the backlog while there is none.
"""

import socket
from pathlib import Path

from supervisor.errors import XcoreError

BACKLOG = 1024
"""Connections that wait while all gateways are busy or being replaced; a process opens few."""


def bind_local_side(path: Path) -> socket.socket:
    """Listen at ``path``, in the place of a stale socket.

    Raises:
        XcoreError: it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)  # nobody can connect before listen(2)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise XcoreError(f"cannot listen on {path}: {error.strerror or error}") from error
    return listener
