"""A program of its own: tries on children what xcore asks of the kernel, and prints as JSON what came of it.

Run by path as ``throwaway.py SUBJECT``, with nothing but the standard library. It forks itself and not with Popen:
what is to be proved is what happens to processes that were forked twice. All of them stay in its process group, which
whoever runs it kills as a whole when it takes too long, so waiting needs no time limit in here.
"""

import ctypes
import errno
import faulthandler
import fcntl
import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

ANSWER = "xcore-doctor:"
SIBLINGS = 8
"""Children at one time: a start of several plugins."""

_CODE = 7
_PR_SET_CHILD_SUBREAPER = 36
_PIDFD_INFO_SIZE = 64
"""Bytes of struct pidfd_info as of Linux 6.13, linux/pidfd.h: mask, cgroup, eleven numbers, exit code."""
_PIDFD_GET_INFO = 3 << 30 | _PIDFD_INFO_SIZE << 16 | 0xFF << 8 | 11
_PIDFD_INFO_EXIT = 1 << 3


def child(work: Callable[[], None]) -> int:
    """Fork a process that does ``work`` and ends with _CODE; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    finally:
        os._exit(_CODE)


def nothing() -> None:
    """End at once."""


def end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def pidfd() -> dict[str, Any]:
    """Whether a descriptor of a process tells of its end."""
    fd = os.pidfd_open(child(nothing))
    ended = os.waitid(os.P_PIDFD, fd, os.WEXITED)
    return {"works": ended is not None and ended.si_status == _CODE}


def exits() -> dict[str, Any]:
    """Whether the kernel says how a process ended that is no child of ours."""
    told, tell = os.pipe()
    held, hold = os.pipe()

    def middle() -> None:
        inner = child(lambda: _until_closed(held, hold))
        os.write(tell, struct.pack("i", inner))
        os.close(hold)
        os.close(held)
        os.waitpid(inner, 0)

    parent = child(middle)
    os.close(tell)
    fd = os.pidfd_open(_read_pid(told))
    os.close(hold)
    os.waitpid(parent, 0)
    info = bytearray(_PIDFD_INFO_SIZE)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    fcntl.ioctl(fd, _PIDFD_GET_INFO, info)
    (mask,), (status,) = struct.unpack_from("=Q", info, 0), struct.unpack_from("=i", info, _PIDFD_INFO_SIZE - 4)
    return {"works": bool(mask & _PIDFD_INFO_EXIT) and os.waitstatus_to_exitcode(status) == _CODE}


def subreaper() -> dict[str, Any]:
    """Whether a grandchild whose parent is dead becomes our child."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        return {"works": False, "error": os.strerror(ctypes.get_errno())}
    told, tell = os.pipe()
    held, hold = os.pipe()

    def middle() -> None:
        os.write(tell, struct.pack("i", child(lambda: _until_closed(held, hold))))

    os.waitpid(child(middle), 0)
    os.close(tell)
    orphan = _read_pid(told)
    os.close(hold)
    return {"works": end_of(orphan) == _CODE}


def stacks() -> dict[str, Any]:
    """Whether a real-time signal has a child write where it is."""
    number = signal.SIGRTMIN + 1
    ready, say_ready = os.pipe()
    dump, dump_to = os.pipe()

    def work() -> NoReturn:
        faulthandler.register(number, file=dump_to)
        os.write(say_ready, b"!")
        while True:
            signal.pause()

    pid = child(work)
    os.close(dump_to)
    os.close(say_ready)
    written = b""
    if os.read(ready, 1):
        os.kill(pid, number)
        while b"in work" not in written and (chunk := os.read(dump, 4096)):
            written += chunk
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return {"works": b"in work" in written}


def fork() -> dict[str, Any]:
    """How many children there can be at one time, of those that a start of xcore would make."""
    held, hold = os.pipe()
    pids: list[int] = []
    error = None
    try:
        while len(pids) < SIBLINGS:
            pids.append(child(lambda: _until_closed(held, hold)))
    except OSError as refused:
        error = refused.strerror
    os.close(hold)
    for pid in pids:
        os.waitpid(pid, 0)
    return {"works": error is None, "error": error, "forked": len(pids)}


def proc() -> dict[str, Any]:
    """Which of the files below /proc that xcore reads are there, for a child and for ourselves."""
    held, hold = os.pipe()
    pid = child(lambda: _until_closed(held, hold))
    unreadable = []
    for name in (f"{pid}/stat", f"{pid}/environ", f"{pid}/cmdline", f"self/task/{os.getpid()}/children"):
        try:
            Path("/proc", name).read_bytes()
        except OSError as error:
            unreadable.append(f"{name.replace(str(pid), '<pid>').replace(str(os.getpid()), '<tid>')}: {error.strerror}")
    os.close(hold)
    os.waitpid(pid, 0)
    return {"works": not unreadable, "unreadable": unreadable}


def _read_pid(told: int) -> int:
    """What a child has told, if there was room for a child of its own."""
    data = os.read(told, 4)
    if not data:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return int(struct.unpack("i", data)[0])


def _until_closed(held: int, hold: int) -> None:
    """Wait until the last writer of the pipe is gone, which this process is one of."""
    os.close(hold)
    os.read(held, 1)


SUBJECTS = {probe.__name__: probe for probe in (pidfd, exits, subreaper, stacks, fork, proc)}


def examine(subject: str) -> dict[str, Any]:
    """``works``: None where there were too few processes to try it."""
    try:
        return SUBJECTS[subject]()
    except BlockingIOError as error:
        return {"works": None, "error": error.strerror}
    except OSError as error:
        return {"works": False, "error": error.strerror}


def main() -> None:
    print(ANSWER + json.dumps(examine(sys.argv[1])), flush=True)  # noqa: T201 - its standard output is its result


if __name__ == "__main__":
    main()
