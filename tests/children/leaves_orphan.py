"""Leaves processes to whoever adopts orphans, prints their pids, and waits: KIND [DEPTH].

KIND: "daemon" (a session of its own), "background" (stays in the process group). DEPTH: the orphan has a child of the
same kind, and so on. Each pid is printed by the parent: the process itself may be killed before it gets that far.
"""

import os
import signal
import sys
import time

KIND = sys.argv[1]
DEPTH = int(sys.argv[2] if len(sys.argv) > 2 else 1)


def fork(depth: int) -> None:
    """Fork a chain of ``depth`` processes."""
    if KIND == "daemon":
        os.setsid()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        return
    if depth == DEPTH:
        while os.getppid() == parent:
            time.sleep(0.001)
    if depth > 1:
        fork(depth - 1)
    signal.pause()


if os.fork() == 0:
    fork(DEPTH)
    os._exit(0)
os.wait()
signal.pause()
