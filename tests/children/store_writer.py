"""Writers for tests that kill them: forks one per line of stdin, with the imports done already.

A line is the path of a database; the answer is the writer's pid, and the signal that ended it once it is gone. The
writer appends the id of every record to ``<path>.acknowledged`` after its commit, without buffering.
"""

import asyncio
import os
import sys
from pathlib import Path

from plugin_runtime.views import ExitView
from supervisor.store.engine import sqlite_url
from supervisor.store.store import Store


async def write(path):
    store = await Store.open(sqlite_url(path))
    acknowledged = os.open(f"{path}.acknowledged", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    number = 0
    while True:
        number += 1
        record = f"{os.getpid()}-{number}"
        view = ExitView(record, "x", "x.1", "worker", "crash", 1, None, "", 1.0, 1.0, ["line " * 200] * 5)
        await store.exits.add_exits([view])
        os.write(acknowledged, f"{record}\n".encode())


for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(write(Path(line.strip())))
        finally:
            os._exit(1)
    print(pid, flush=True)
    print(os.WTERMSIG(os.waitpid(pid, 0)[1]), flush=True)
