"""Locks the file given, says so, and waits to be killed: PATH."""

import signal
import sys
from pathlib import Path

from supervisor.folder_lock import FolderLock

lock = FolderLock(Path(sys.argv[1]))
lock.acquire()
print("locked", flush=True)
signal.pause()
