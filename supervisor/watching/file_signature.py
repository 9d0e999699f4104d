"""What the kernel says of a file, by which it need not be read again to know that it has not changed."""

import os
import stat
import time

SETTLED = 2_000_000_000
"""Nanoseconds after a change from which on another one surely has another time: file systems count in up to 2 s."""

Signature = tuple[int, ...]


def signature_of(status: os.stat_result) -> Signature:
    """Neither the inode nor the time of the last change of anything can be set back, whatever is done to the others."""
    kind = stat.S_IFMT(status.st_mode)
    return (kind, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def settled(signature: Signature) -> Signature | None:
    """The signature, to be remembered; None where the file may still change without another one.

    To be called before the file is read: what is written from then on has a later time, if only the clock has moved on.
    """
    now = time.time_ns()
    return signature if all(moment + SETTLED < now for moment in signature[-2:]) else None
