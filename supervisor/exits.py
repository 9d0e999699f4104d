"""The exit record: one for every death of every process."""

import time
import uuid
from collections.abc import Sequence

from plugin_runtime.protocol import Beat, Cause
from plugin_runtime.views import ExitView
from supervisor.spec import ChildSpec, ExitStatus


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
