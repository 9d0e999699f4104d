"""What every process uses: sampled regularly, and soon after a child became ready."""

import asyncio
import os
from collections.abc import Callable

from plugin_runtime.protocol import Kind
from plugin_runtime.views import ResourceView
from supervisor.monitoring.sampler import Sample, Sampler
from supervisor.spec import Limits
from supervisor.supervision.child import Child
from supervisor.supervision.tree import Tree

OURSELVES = Kind.SUPERVISOR.value
"""Id of this process, beside those of the children."""
SOON = 0.2
"""Seconds after a child became ready: one pass serves all that became ready together."""


class Resources:
    """Owns the sampling timer and the latest sample of each child."""

    def __init__(
        self, tree: Tree, sampler: Sampler, interval: Callable[[], float], sampled: Callable[[list[ResourceView]], None]
    ) -> None:
        self._tree = tree
        self._sampler = sampler
        self._interval = interval
        self._sampled = sampled
        self._latest: dict[str, Sample] = {}
        self._measured: dict[str, int | None] = {}
        """Whose sample is the latest of an id."""
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval(), self._pass)

    def close(self) -> None:
        for timer in (self._timer, self._soon):
            if timer is not None:
                timer.cancel()

    def sample_soon(self) -> None:
        """A new process is there: people look at it now, not in five seconds."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(SOON, self._early_pass)

    def forget(self, child: str) -> None:
        """Its process is gone; what it used says nothing of the next one."""
        self._latest.pop(child, None)

    def latest(self, child: Child) -> Sample | None:
        """None where it is of another process than the one that the child has."""
        return self._latest.get(child.spec.id) if self._measured.get(child.spec.id) == child.pid else None

    def views(self) -> list[ResourceView]:
        """What is known of every child and of ourselves, as of the last pass."""
        ours = _view(OURSELVES, Kind.SUPERVISOR, OURSELVES, os.getpid(), self._latest.get(OURSELVES))
        return [ours, *(_view_of(child, self.latest(child)) for child in self._tree.children)]

    def _early_pass(self) -> None:
        self._soon = None
        self._measure()

    def _pass(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval(), self._pass)
        self._measure()
        self._sampled([view for view in self.views() if view.sampled is not None])

    def _measure(self) -> None:
        """Children with a memory limit are measured exactly, every time, and held to it."""
        limited = [child for child in self._tree.children if _has_memory_limit(child.spec.limits)]
        self._measured = self._tree.pids
        self._latest = self._sampler.sample([child.spec.id for child in limited])
        for child in limited:
            memory = self._memory_of(child)
            if memory is not None:
                child.check_limits(memory)

    def _memory_of(self, child: Child) -> float | None:
        """One that is being replaced has its successor's name, and a sample of its own it has not."""
        if child.pid is None:
            return None
        sample = self.latest(child)
        if sample is None:
            return self._sampler.memory_of(child.pid)
        return sample.memory_mb if sample.uss_mb is None else sample.uss_mb


def _has_memory_limit(limits: Limits) -> bool:
    return bool(limits.memory_soft_mb or limits.memory_hard_mb)


def _view_of(child: Child, sample: Sample | None) -> ResourceView:
    return _view(child.spec.id, child.spec.kind, child.spec.name, child.pid, sample)


def _view(id_: str, kind: Kind, name: str, pid: int | None, sample: Sample | None) -> ResourceView:
    return ResourceView(
        kind=kind.value,
        name=name,
        id=id_,
        pid=pid,
        cpu_percent=_rounded(sample.cpu_percent) if sample else None,
        cpu_seconds=_rounded(sample.cpu_seconds) if sample else None,
        memory_mb=_rounded(sample.memory_mb) if sample else None,
        uss_mb=_rounded(sample.uss_mb) if sample else None,
        threads=sample.threads if sample else None,
        open_files=sample.open_files if sample else None,
        sampled=sample.time if sample else None,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
