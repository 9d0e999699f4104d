"""How a program of the guest joins the supervisor, says that it cannot start, and leaves."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Timer
from typing import TypeVar

from plugin_runtime.control import ControlChannel
from plugin_runtime.handshake import (
    ControlAddress,
    HandshakeRefusedError,
    MissingAddressError,
    SupervisorLostError,
)
from plugin_runtime.imported import modules_imported_since
from plugin_runtime.protocol import STACKS_SIGNAL, ExitCode, Failed
from plugin_runtime.template_protocol import Imported
from plugin_runtime.wire import WireError, from_wire

T = TypeVar("T")

EXIT_GRACE = 2.0
"""Seconds for the interpreter's own end; threads of foreign code that do not return must not keep the process."""


_EXIT_CODES: dict[type[Exception], ExitCode] = {
    MissingAddressError: ExitCode.USAGE,
    HandshakeRefusedError: ExitCode.REFUSED,
    SupervisorLostError: ExitCode.PARENT_LOST,
    WireError: ExitCode.REFUSED,
}
JOINING_ERRORS = (MissingAddressError, HandshakeRefusedError, SupervisorLostError, WireError)
"""What keeps a process of the guest from being one."""


def take_part(settings: type[T], carry_out: Callable[[T, ControlChannel], int]) -> int:
    """Join the supervisor, do what it wants of this process, and leave; return the exit code."""
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL)
    try:
        channel = ControlChannel(ControlAddress.take_from_environment())
        welcome = channel.connect()
    except JOINING_ERRORS as error:
        return refuse(error)
    try:
        code = carry_out(from_wire(settings, welcome.settings), channel)
    except WireError as error:
        code = refuse(error)
    finally:
        channel.close()
    _end_within(EXIT_GRACE, code)
    return code


def report_failure(failed: Failed, channel: ControlChannel) -> ExitCode:
    """Tell supervisor and log why this process cannot start; return what it exits with."""
    sys.stderr.write(f"{failed.traceback}{failed.message}\n")
    if failed.hint:
        sys.stderr.write(f"{failed.hint}\n")
    channel.send(failed)
    return ExitCode.INVALID if failed.permanent else ExitCode.START_FAILED


def tell_imports(channel: ControlChannel) -> None:
    """Say what this process had to import itself, for those that follow it; raise nothing: it is well without."""
    try:
        if modules := modules_imported_since():
            channel.send(Imported(modules))
    except Exception as error:  # noqa: BLE001 - boundary: foreign code may have put anything into sys.modules
        with suppress(Exception):  # or have closed stderr
            sys.stderr.write(f"Cannot tell what was imported, the next process starts slower: {error!r}\n")


def refuse(error: Exception) -> ExitCode:
    """Say why this process does not take part; return what it exits with."""
    sys.stderr.write(f"{error}\n")
    return _EXIT_CODES[type(error)]


def _end_within(seconds: float, code: int) -> None:
    """Leave the interpreter to its own end, which runs atexit and waits for threads, but not for ever."""
    timer = Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
