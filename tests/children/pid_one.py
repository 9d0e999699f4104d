"""A minimal supervisor, to be run as PID 1: one child that leaves a daemon behind is killed: STATE_FOLDER PROGRAM...

Prints the exit status and then, as soon as nothing but itself is left, "alone".
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from plugin_runtime.protocol import Kind
from supervisor.processes.output import Output
from supervisor.processes.reaper import Reaper, become_subreaper
from supervisor.processes.spawn import spawn
from supervisor.spec import ChildSpec, ExitStatus
from supervisor.state_folder import StateFolder


def processes() -> set[str]:
    return {entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()}


async def main() -> None:
    assert os.getpid() == 1
    loop = asyncio.get_running_loop()
    folder = StateFolder(Path(sys.argv[1]))
    become_subreaper()
    reaper = Reaper(loop)
    reaper.start()
    spec = ChildSpec("nasty.1", "nasty", Kind.WORKER, tuple(sys.argv[2:]), folder.root)
    process = spawn(spec, "a1", "nonce", folder)
    died: asyncio.Future[ExitStatus] = loop.create_future()
    reaper.watch(process, died.set_result)
    orphan_named = asyncio.Event()
    output = Output(loop, process.pipes, spec.id, lambda *_: orphan_named.set())
    output.start()
    await orphan_named.wait()
    os.kill(process.pid, signal.SIGKILL)
    print(await died, flush=True)
    output.finish()
    while processes() != {"1"}:
        await asyncio.sleep(0.005)
    print("alone", flush=True)
    reaper.close()


asyncio.run(main())
