"""Forks a child that stays in its process group, prints the pid of it, and waits."""

import os
import signal

pid = os.fork()
if pid:
    print(pid, flush=True)
signal.pause()
