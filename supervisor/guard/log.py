"""The guard's log: a file of the state folder, since nobody reads its stderr when there is something to tell."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path


class GuardLog:
    """Lines as those of all logs: time, instance, stream, text."""

    def __init__(self, path: Path, instance: str) -> None:
        self._path = path
        self._instance = instance

    def say(self, text: str) -> None:
        """Write one line; to stderr where the file cannot be had, and never raise."""
        now = time.time()
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"
        line = f"{stamp} {self._instance} err {text.encode('unicode_escape').decode()}\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError:
            with suppress(OSError):
                sys.stderr.write(line)
