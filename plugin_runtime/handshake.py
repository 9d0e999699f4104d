"""How a process of the guest makes itself known to the supervisor, and what it makes of the answer.

Names are imported one by one, see control.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from platform import python_version
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any, Optional

from plugin_runtime.process_facts import start_ticks
from plugin_runtime.protocol import (
    ACCEPTED_VERSIONS,
    ENV_CHILD,
    ENV_CONTROL,
    ENV_NONCE,
    PROTOCOL_VERSION,
    Hello,
    Refused,
    Welcome,
)
from plugin_runtime.wire import WireError

RECONNECT_INTERVAL = 0.1
"""Seconds; an upgrade of the supervisor takes less than one, and nobody should wait for us after it."""
FIRST_GRACE = 10.0
"""Seconds to reach the supervisor as long as it has not said its own ``adopt_grace``."""
HANDSHAKE_TIMEOUT = 10.0
"""Seconds for the answer to Hello; a supervisor that is busy for longer is in trouble of its own."""


class MissingAddressError(RuntimeError):
    """The process was not started by a supervisor."""

    def __init__(self, variable: str) -> None:
        super().__init__(
            f"cannot find the supervisor: {variable} is not set; this program is started by 'xcore up', not by hand"
        )


class HandshakeRefusedError(RuntimeError):
    """The supervisor does not want this process."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot join the supervisor: {reason}")


class SupervisorLostError(RuntimeError):
    """Nobody answered on the control socket in time."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(f"cannot reach the supervisor: nobody answered on {path} for {seconds:g} s")


@dataclass(frozen=True)
class ControlAddress:
    """Where the supervisor listens, and what proves to it who we are."""

    path: str
    child: str
    nonce: str

    @classmethod
    def take_from_environment(cls) -> ControlAddress:
        """Read it and take it away: foreign code runs in this environment next, and hands it to its own children.

        Raises:
            MissingAddressError: a variable is not set.
        """
        try:
            child = os.environ[ENV_CHILD]
            return cls(os.environ.pop(ENV_CONTROL), child, os.environ.pop(ENV_NONCE))
        except KeyError as error:
            raise MissingAddressError(error.args[0]) from None

    def put_into_environment(self) -> None:
        """Leave it to a program of the guest that begins in this process."""
        os.environ.update({ENV_CONTROL: self.path, ENV_CHILD: self.child, ENV_NONCE: self.nonce})

    def hello(self) -> Hello:
        """What this process says of itself."""
        return Hello(
            version=PROTOCOL_VERSION,
            child=self.child,
            pid=os.getpid(),
            start_ticks=start_ticks(),
            nonce=self.nonce,
            python=python_version(),
        )

    def reach(self) -> Optional[socket]:
        """Connect; None where nobody listens, or the plugin has used up all file descriptors."""
        try:
            unconnected = socket(AF_UNIX, SOCK_STREAM)
        except OSError:
            return None
        try:
            unconnected.connect(self.path)
        except OSError:
            unconnected.close()
            return None
        return unconnected


def judge(answer: Any) -> Welcome:
    """Take the answer to Hello.

    Raises:
        HandshakeRefusedError: the supervisor does not want this process, or cannot talk to it.
        WireError: it is no answer.
    """
    if isinstance(answer, Welcome) and answer.version in ACCEPTED_VERSIONS:
        return answer
    if isinstance(answer, Welcome):
        raise HandshakeRefusedError(f"it speaks protocol {answer.version}, this guest speaks {PROTOCOL_VERSION}")
    if isinstance(answer, Refused):
        raise HandshakeRefusedError(answer.reason)
    raise WireError(f"expected welcome, got {type(answer).__name__}")
