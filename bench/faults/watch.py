"""Every process of the project, from the moment it is on record to the moment of its death."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.faults.observed import Hit, Life
from bench.faults.plan import Blow
from plugin_runtime.protocol import Kind
from supervisor.processes.process_stat import read_process_stat

INTERVAL = 0.05
"""Seconds between two looks at the records."""
SINGLE = frozenset({Kind.WORKER.value, Kind.TASK.value, Kind.GATEWAY.value})
"""Kinds of which there is never more than one process of one id and generation, unless one of them is leaving."""


class Watch:
    """Reads ``run/*.process`` and holds a pidfd of every process, so that none is mistaken for another of its pid."""

    def __init__(self, run: Path, gone: Callable[[Life], None]) -> None:
        self._run = run
        self._gone = gone
        self._fds: dict[tuple[int, int], int] = {}
        self._lives: dict[tuple[int, int], Life] = {}
        self._doubled: set[tuple[str, ...]] = set()
        self.doubles: list[str] = []

    @property
    def lives(self) -> list[Life]:
        return list(self._lives.values())

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                self.look()
                await asyncio.sleep(INTERVAL)
        finally:
            for fd in self._fds.values():
                asyncio.get_running_loop().remove_reader(fd)
                os.close(fd)

    def look(self) -> None:
        """Meet who is new; see who is one too many."""
        serving: Counter[tuple[str, str]] = Counter()
        for path in self._run.glob("*.process"):
            with suppress(OSError, ValueError):  # removed at this moment
                record = json.loads(path.read_text())
                key = (record["pid"], record["start_ticks"])
                if key not in self._lives:
                    self._meet(key, record)
                if key in self._fds and not record["leaving"] and record["kind"] in SINGLE:
                    serving[record["kind"], record["id"], record["generation"]] += 1
        doubled = {(*what, str(count)) for what, count in serving.items() if count > 1}
        self.doubles += [f"{' '.join(what)} at {time.monotonic():.3f}" for what in doubled - self._doubled]
        self._doubled = doubled

    def living(self, kind: Kind) -> list[Life]:
        """Those that can be hit: dead ones that nobody has reaped cannot."""
        return [self._lives[key] for key in self._fds if self._lives[key].kind == kind.value and not _is_zombie(*key)]

    @property
    def accepting(self) -> int:
        """Gateways that were not told to end."""
        return sum(not life.took(Blow.TERM) for life in self.living(Kind.GATEWAY))

    def hit(self, life: Life, blow: Blow) -> bool:
        """Send it a signal; False where it has ended."""
        try:
            signal.pidfd_send_signal(self._fd_of(life), signal.Signals[blow.value])
        except (LookupError, ProcessLookupError):
            return False
        life.hits.append(Hit(blow, time.monotonic()))
        return True

    def go_on(self, life: Life) -> None:
        """Let a stopped one go on, if it is still there."""
        with suppress(LookupError, ProcessLookupError):
            signal.pidfd_send_signal(self._fd_of(life), signal.SIGCONT)
            now = time.monotonic()
            life.hits = [Hit(hit.blow, hit.at, hit.until or now) for hit in life.hits]

    def _fd_of(self, life: Life) -> int:
        """Raises LookupError where it has ended."""
        fds = [fd for key, fd in self._fds.items() if self._lives[key] is life]
        return fds[0]

    def _meet(self, key: tuple[int, int], record: dict[str, str]) -> None:
        pid, start_ticks = key
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            stat = read_process_stat(pid)
            if stat is None or stat.start_ticks != start_ticks or stat.is_zombie:
                os.close(fd)
                return
            self._fds[key] = fd
            self._lives[key] = Life(record["id"], record["kind"], record["name"], pid)
            asyncio.get_running_loop().add_reader(fd, self._ended, key)

    def _ended(self, key: tuple[int, int]) -> None:
        life, fd = self._lives[key], self._fds.pop(key)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
        life.gone = time.monotonic()
        self._gone(life)


def _is_zombie(pid: int, start_ticks: int) -> bool:
    stat = read_process_stat(pid)
    return stat is None or stat.start_ticks != start_ticks or stat.is_zombie
