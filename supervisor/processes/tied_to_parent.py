"""A program that becomes another one, which the kernel kills when PARENT dies: ``tied_to_parent.py PARENT PROGRAM...``.

For what is of use only to who asked for it. PR_SET_PDEATHSIG can be set by a process for itself only, and survives
execve(2); what that process starts is not tied. Run by path with -I -S: the standard library is all it needs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_CANNOT_EXECUTE = 127
"""As shells have it."""


def main() -> int:
    """Become the program; return only where that cannot be."""
    parent, program = int(sys.argv[1]), sys.argv[2]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked to be told
        return _CANNOT_EXECUTE
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and programs inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(program, sys.argv[2:])  # noqa: S606 - there is to be no shell
    except OSError as error:
        sys.stderr.write(f"cannot execute {program}: {error.strerror}\n")
    return _CANNOT_EXECUTE


if __name__ == "__main__":
    sys.exit(main())
