"""The threads of all our Python processes, and the few figures of the machine that people ask for beside them."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

import psutil

from plugin_runtime.protocol import Kind
from plugin_runtime.task_protocol import ListThreads, ThreadFacts, Threads
from plugin_runtime.task_views import MetricsView, ThreadView
from supervisor.channels.operations import Operation
from supervisor.channels.questions import NoAnswerError
from supervisor.clock import Clock
from supervisor.supervision.child import Child
from supervisor.supervision.tree import Tree

PATIENCE = 1.0
"""Seconds for a process to tell its threads. Its control thread answers, in milliseconds unless the GIL is held."""
CPU_SPAN = 0.5
"""Seconds between two measurements of the CPU; over less, a few ticks of the kernel's clock decide the figure."""

_OURSELVES = Kind.SUPERVISOR.value
_ASKED = {Kind.GUARD, Kind.GATEWAY, Kind.TEMPLATE, Kind.WORKER, Kind.TASK, Kind.JOB}


class ThreadCensus:
    """Asks everybody at once. Who does not answer is counted by the kernel's list, and delays nobody else."""

    def __init__(self, tree: Tree, clock: Clock) -> None:
        self._tree = tree
        self._cpu = _Cpu(clock)

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {"threads.list": self.list_threads, "system.metrics": self.metrics}

    async def list_threads(self) -> list[ThreadView]:
        """Ourselves first, then the children as the process table has them. Takes about PATIENCE at most."""
        children = [child for child in self._tree.children if child.spec.kind in _ASKED and child.pid is not None]
        counted = await asyncio.gather(*(_threads_of(child) for child in children))
        views = [_view(_OURSELVES, facts) for facts in _our_own()]
        for child, threads in zip(children, counted, strict=True):
            views += [_view(child.spec.id, facts) for facts in threads]
        return views

    async def metrics(self) -> MetricsView:
        """CPU and memory are the whole machine's, threads and processes ours; short-lived processes count, too."""
        threads = await self.list_threads()
        return MetricsView(
            cpu_percent=self._cpu.percent(),
            memory_percent=psutil.virtual_memory().percent,
            active_threads=sum(thread.alive for thread in threads),
            active_processes=1 + sum(pid is not None for pid in self._tree.pids.values()),
        )


class _Cpu:
    """CPU usage since the measurement before; the first one is over the time since this was made.

    psutil compares with its own last call. Of two requests in the same moment the second one would see nothing used.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._measured: float | None = None
        self._percent = 0.0
        psutil.cpu_percent(interval=None)  # what the first measurement is compared with; its own value means nothing

    def percent(self) -> float:
        now = self._clock.monotonic()
        if self._measured is None or now - self._measured >= CPU_SPAN:
            self._measured, self._percent = now, psutil.cpu_percent(interval=None)
        return self._percent


async def _threads_of(child: Child) -> list[ThreadFacts]:
    # Before it joined us it cannot be asked: its interpreter is starting, or it hangs.
    if child.python:
        try:
            answer = await child.questions.ask(child.send, ListThreads(), PATIENCE)
        except NoAnswerError:
            pass
        else:
            if isinstance(answer, Threads):  # what runs there is foreign code, and may say anything
                return answer.threads
    return [] if child.pid is None else _by_the_kernel(child.pid)


def _by_the_kernel(pid: int) -> list[ThreadFacts]:
    """What /proc knows: Python's names, ids and daemon flags are out of reach. Any of them may end while we look."""
    try:
        tids = sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    found = []
    for tid in tids:
        try:
            name = Path(f"/proc/{pid}/task/{tid}/comm").read_bytes()
        except OSError:
            continue
        text = name.removesuffix(b"\n").decode(errors="backslashreplace")
        found.append(ThreadFacts(id=tid, name=text, alive=True, daemon=False, native=tid))
    return found


def _our_own() -> list[ThreadFacts]:
    return [
        ThreadFacts(thread.ident or 0, thread.name, thread.is_alive(), thread.daemon, thread.native_id)
        for thread in threading.enumerate()
    ]


def _view(process: str, facts: ThreadFacts) -> ThreadView:
    return ThreadView(process, facts.id, facts.name, facts.alive, facts.daemon, facts.native)
