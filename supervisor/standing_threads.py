"""Threads for what blocks, there from the beginning: where none can be started any more, everybody has them still."""

import threading
from concurrent.futures import ThreadPoolExecutor

from supervisor.errors import XcoreError
from supervisor.signals import signals_left_to_others


def standing_threads(count: int) -> ThreadPoolExecutor:
    """Return an executor, all of whose threads run. asyncio's own starts each when it is needed, and fails there.

    Raises:
        XcoreError: so many are not to be had.
    """
    executor = ThreadPoolExecutor(count, thread_name_prefix="asyncio")
    all_there = threading.Barrier(count)
    try:
        with signals_left_to_others():
            awaited = [executor.submit(all_there.wait) for _ in range(count)]
        for there in awaited:
            there.result()
    except RuntimeError as error:
        all_there.abort()
        executor.shutdown(wait=False)
        hint = "raise the limit of processes: ulimit -u, or pids.max of the cgroup"
        raise XcoreError(f"cannot start {count} threads: {error}", hint=hint) from error
    return executor
