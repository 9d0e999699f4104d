"""A supervisor in small: starts a deaf program of a kind, prints its pid once it runs, and waits: FOLDER KIND."""

import select
import sys
from pathlib import Path

from plugin_runtime.protocol import Kind
from supervisor.processes.spawn import spawn
from tests.fakes.processes import nasty_spec, state_folder

folder = state_folder(Path(sys.argv[1]))
process = spawn(nasty_spec(folder, "ignores_sigterm.py", kind=Kind(sys.argv[2])), "a1", "nonce", folder)
select.select([process.pipes[0].fd], [], [])
print(process.pid, flush=True)
select.select([], [], [])
