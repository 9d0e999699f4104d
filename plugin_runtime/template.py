"""A template: an interpreter that has done the imports of a plugin or task, and of which the others are forked.

It has one thread, no event loop and nothing of the plugin's own code: what is forked from it finds itself as in a
fresh interpreter, a few hundred modules later. Memory is shared until it is written to, so the garbage collector,
which writes to everything, is kept away from what is there already.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import time
from typing import Optional

import plugin_runtime.service  # noqa: F401 - so that services find it imported
from plugin_runtime import imported, native_threads, task, worker
from plugin_runtime.forking import fork
from plugin_runtime.handshake import ControlAddress
from plugin_runtime.joining import JOINING_ERRORS, refuse
from plugin_runtime.preload import preload
from plugin_runtime.process_facts import peak_memory_kb, threads
from plugin_runtime.protocol import ENV_RUNTIME, STACKS_SIGNAL, Beat, ExitCode, Ready, Stop
from plugin_runtime.task_protocol import ListThreads, Threads
from plugin_runtime.template_channel import TemplateChannel
from plugin_runtime.template_protocol import (
    TASK_PROGRAM,
    WORKER_PROGRAM,
    Fork,
    NotForked,
    NotImported,
    TemplateSettings,
)
from plugin_runtime.wire import from_wire

_PROGRAMS = {WORKER_PROGRAM: worker.main, TASK_PROGRAM: task.main}
_EVENT_LOOP = "uvloop"
"""Imported by workers where there is one for their Python."""


def main() -> int:
    """Serve as a template; return the exit code, in each forked process that of its program."""
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL)
    gc.disable()
    try:
        channel = TemplateChannel(ControlAddress.take_from_environment())
        settings = from_wire(TemplateSettings, channel.join().settings)
        preloaded = preload((_EVENT_LOOP, *settings.modules))
        if preloaded.missing:
            channel.send(NotImported(preloaded.missing))
        if preloaded.unsafe is not None:
            channel.send(preloaded.unsafe)
            return ExitCode.INVALID
        libraries = native_threads.loaded_openblas()
        imported.remember_preloaded()
        gc.freeze()
        order = _serve(channel)
    except JOINING_ERRORS as error:
        return refuse(error)
    channel.forget()
    if order is None:
        return ExitCode.OK
    _become(order, channel.address)
    native_threads.let_openblas_have_threads(libraries)
    return _PROGRAMS[order.program]()


def _serve(channel: TemplateChannel) -> Optional[Fork]:
    """Fork on demand until told to stop; in a forked process return the order that it comes from."""
    channel.send(Beat(0.0, peak_memory_kb=peak_memory_kb()))
    channel.announce(Ready())
    while True:
        envelope = channel.receive()
        if isinstance(envelope.message, Fork):
            order = envelope.message
            known = order.program in _PROGRAMS
            answer = fork(order) if known else NotForked(f"there is no program {order.program!r}")
            if answer is None:
                return order
            channel.send(answer, envelope.id)
        elif isinstance(envelope.message, ListThreads):
            channel.send(Threads(threads()), envelope.id)
        elif isinstance(envelope.message, Stop):
            return None


def _become(order: Fork, address: ControlAddress) -> None:
    """Put into the process what another one would be started with."""
    os.environ.clear()
    os.environ.update(order.environment)
    os.environ.pop(ENV_RUNTIME, None)
    time.tzset()  # the C library has read TZ when the template needed a local time
    ControlAddress(address.path, order.child, order.nonce).put_into_environment()
    if "numpy.random" in sys.modules:  # the only wide-spread generator that does not reseed itself after a fork
        sys.modules["numpy.random"].seed()
    gc.enable()
