"""The exit record: one for every death of every process."""

import time
import uuid
from collections.abc import Sequence

from plugin_runtime.protocol import Beat, Cause
from plugin_runtime.views import ExitView
from supervisor.spec import ChildSpec, ExitStatus

_HINTS = {
    Cause.START_TIMEOUT.value: "have it do less before it is ready, or raise start_timeout in its [tool.xcore]",
    Cause.HANG.value: "its stacks say where its event loop was stuck: run what blocks in a thread",
    Cause.MEMORY_LIMIT.value: "see what it keeps in memory, or raise memory_hard_mb in its [tool.xcore]",
    Cause.OUT_OF_MEMORY.value: "the machine has no memory left: have fewer instances, or more memory",
    Cause.SIGNAL.value: "no signal of xcore's: native code that failed, or somebody outside",
    Cause.CRASH.value: "its last lines may say why it ended itself",
}
"""What to do about a worker that died without a word, by the cause."""


def exit_record(
    spec: ChildSpec,
    pid: int | None,
    cause: Cause,
    status: ExitStatus,
    *,
    uptime: float,
    log_tail: Sequence[str],
    stacks: Sequence[str] | None = None,
    actor: str = "",
    beat: Beat | None = None,
    message: str = "",
) -> ExitView:
    """Put together what is known of a death.

    ``stacks``: what it wrote of them when it was asked; ``beat``: the last one, for the memory and requests it had.
    """
    return ExitView(
        id=str(uuid.uuid4()),
        name=spec.name,
        instance=spec.id,
        kind=spec.kind.value,
        cause=cause.value,
        exit_code=status.exit_code,
        signal=status.signal,
        actor=actor,
        time=time.time(),
        uptime=round(uptime, 3),
        log_tail=list(log_tail),
        stacks="\n".join(stacks) if stacks else None,
        pid=pid,
        generation=spec.generation,
        peak_memory_mb=round(beat.peak_memory_kb / 1024, 1) if beat and beat.peak_memory_kb else None,
        cpu_seconds=status.cpu_seconds,
        in_flight=beat.in_flight if beat else 0,
        message=message,
    )


def explain(record: ExitView) -> str:
    """One log line about a death."""
    how = f"signal {record.signal}" if record.signal is not None else f"exit code {record.exit_code}"
    by = f" by {record.actor}" if record.actor else ""
    said = f": {record.message}" if record.message else ""
    return f"{record.instance} (pid {record.pid}) ended after {record.uptime:.1f} s, {record.cause}{by}, {how}{said}"


def advice(record: ExitView) -> str:
    """What to do about a process that died without a word; "" where nothing is known."""
    return _HINTS.get(record.cause, "")
