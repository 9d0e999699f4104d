"""How a program of the guest joins the supervisor, says that it cannot start, and leaves."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Callable
from threading import Timer
from typing import TypeVar

from plugin_runtime.control import (
    ControlAddress,
    ControlChannel,
    HandshakeRefusedError,
    MissingAddressError,
    SupervisorLostError,
)
from plugin_runtime.protocol import STACKS_SIGNAL, ExitCode, Failed
from plugin_runtime.wire import WireError, from_wire

T = TypeVar("T")

EXIT_GRACE = 2.0
"""Seconds for the interpreter's own end; threads of foreign code that do not return must not keep the process."""


def take_part(settings: type[T], carry_out: Callable[[T, ControlChannel], int]) -> int:
    """Join the supervisor, do what it wants of this process, and leave; return the exit code."""
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL)
    try:
        channel = ControlChannel(ControlAddress.take_from_environment())
        welcome = channel.connect()
    except MissingAddressError as error:
        return _refuse(error, ExitCode.USAGE)
    except HandshakeRefusedError as error:
        return _refuse(error, ExitCode.REFUSED)
    except SupervisorLostError as error:
        return _refuse(error, ExitCode.PARENT_LOST)
    try:
        code = carry_out(from_wire(settings, welcome.settings), channel)
    except WireError as error:
        code = _refuse(error, ExitCode.REFUSED)
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


def _refuse(error: Exception, code: ExitCode) -> ExitCode:
    sys.stderr.write(f"{error}\n")
    return code


def _end_within(seconds: float, code: int) -> None:
    """Leave the interpreter to its own end, which runs atexit and waits for threads, but not for ever."""
    timer = Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
