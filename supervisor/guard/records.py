"""Who is on record as ours: the files that supervisors write about their processes, as far as the guard needs them."""

import json
from contextlib import suppress
from pathlib import Path

from supervisor.guard.selection import Identity

SUFFIX = ".process"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_records(run: Path) -> dict[Identity, str]:
    """Ids in the process table by process; of this boot only, and without what cannot be read."""
    boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
    found: dict[Identity, str] = {}
    for path in run.glob(f"*{SUFFIX}"):
        with suppress(OSError, ValueError, TypeError, KeyError):  # removed meanwhile, or no record at all
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["boot_id"] == boot_id:
                found[Identity(int(content["pid"]), int(content["start_ticks"]))] = str(content["id"])
    return found
