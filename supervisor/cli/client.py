"""The CLI's end of the command socket: ask the running supervisor for one operation."""

import socket
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import Call, Error, Result
from plugin_runtime.wire import Decoder, WireError, encode
from supervisor.errors import NotRunningError, XcoreError


class OperationFailedError(XcoreError):
    """The supervisor's answer was an error; ``status`` as in HTTP."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.type = error.type
        self.status = error.status
        self.extension = error.extension


def call(command_socket: Path, operation: str, timeout: float = 30.0, **arguments: Any) -> Any:
    """Carry out ``operation`` and return its value.

    Raises:
        NotRunningError: no supervisor listens there, or it went away before it answered.
        OperationFailedError: it answered with an error.
        XcoreError: it did not answer in time, not as a supervisor does, or its socket is not to be used.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(str(command_socket))
            sock.sendall(encode(Call(operation, arguments, actor="operator"), 1))
            answer = _receive(sock)
        except (FileNotFoundError, ConnectionError) as error:
            raise NotRunningError(command_socket) from error
        except TimeoutError as error:
            raise XcoreError(f"the supervisor did not answer {operation} within {timeout:g} s") from error
        except OSError as error:
            raise XcoreError(f"cannot ask the supervisor at {command_socket}: {error.strerror or error}") from error
        except WireError as error:
            raise XcoreError(
                f"cannot understand what answers on {command_socket}: {error}",
                hint="use the xcore that the supervisor was started with",
            ) from error
    if isinstance(answer, Error):
        raise OperationFailedError(answer)
    return answer.value


def _receive(sock: socket.socket) -> Result | Error:
    decoder = Decoder()
    while data := sock.recv(65536):
        for envelope in decoder.feed(data):
            if isinstance(envelope.message, Result | Error):
                return envelope.message
            raise WireError(f"expected result or error, got {type(envelope.message).__name__}")
    raise ConnectionResetError("the supervisor closed the connection before it answered")
