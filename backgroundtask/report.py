"""Jobs without a service: nothing runs between their runs, and each run is a process of its own.

What one run has to tell the next, or another job, it writes to a file; memory is gone with the process.
"""

import os
import shutil
import time
from pathlib import Path

DISK = Path(os.environ["XCORE_DATA_DIR"]) / "disk.csv"
DAYS_KEPT = 7


def disk() -> None:
    """Note how much space is left."""
    free = shutil.disk_usage(DISK.parent).free
    with DISK.open("a") as file:
        file.write(f"{time.time():.0f},{free}\n")
    print(f"{free / 2**30:.1f} GiB free")


def daily() -> None:
    """Say how the space went, and forget what is older than a week."""
    if not DISK.exists():
        print("nothing was noted yet")
        return
    since = time.time() - DAYS_KEPT * 86400
    notes = [line.split(",") for line in DISK.read_text().splitlines()]
    kept = [(int(when), int(free)) for when, free in notes if int(when) >= since]
    draft = DISK.with_suffix(".draft")
    draft.write_text("".join(f"{when},{free}\n" for when, free in kept))
    draft.replace(DISK)  # at once, so that nobody ever reads half of it
    if kept:
        free = [free / 2**30 for _, free in kept]
        print(f"{len(kept)} notes: {free[0]:.1f} GiB free at first, {min(free):.1f} at worst, {free[-1]:.1f} at last")


metadata = {
    "type": "report",
    "moduleDir": "core",
    "title": "Disk report",
    "description": "notes how much disk space is left, and sums it up every morning",
    "version": "1.0.0",
    "author": "The xcore developers",
    "con": [
        {"func": disk, "name": "disk", "minutes": 10, "timeout": 30},
        {
            "func": daily,
            "name": "daily",
            "interval": "cron",
            "cron_params": {"hour": 6, "minute": 30},
            "timezone": "Europe/Berlin",
            "misfire_grace_time": 3600,
        },
    ],
}
