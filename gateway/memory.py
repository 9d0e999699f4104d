"""How this process treats memory: less of Python's garbage collection, and a C heap that is kept.

Both defaults are made for programs that allocate now and then. A gateway does nothing else, and always the same: what
a request consists of, and reads of up to 256 KiB.
"""

import ctypes
import gc

YOUNG_CONTAINERS = 10_000
"""What a few hundred requests in flight consist of. They end without the garbage collector, which finds nothing to free
among them however often it looks."""
KEPT_HEAP = 8 * 1024 * 1024
"""Bytes of free heap that are not given back."""
LARGEST_ON_HEAP = 1024 * 1024
"""Bytes; larger blocks are mapped one by one. The buffers of a long body have to be below."""

# Of <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def tune() -> None:
    """Call once the modules are imported."""
    _spare_collector()
    _keep_heap()


def _spare_collector() -> None:
    """Keep the modules, which stay for ever, out of the garbage collector's sight: they took it a fifth of all CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_CONTAINERS)


def _keep_heap() -> None:
    """Reuse pages: given back and asked for again, each one faults and is zeroed, 64 of them for every long read.

    Without glibc there is no mallopt, and nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_HEAP)
        mallopt(_M_MMAP_THRESHOLD, LARGEST_ON_HEAP)
