"""Messages of a guest on their way to the supervisor, in order and across connections."""

from __future__ import annotations

from collections import deque
from threading import Event, Lock
from typing import Any, Optional

from plugin_runtime.wire import encode


class Outbox:
    """Any thread may put, one takes.

    Standing messages are what a supervisor that takes the process over has to know: the last of each class is kept
    and said again on every new connection.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._queue: deque[tuple[bytes, bool]] = deque()
        self._standing: dict[type, bytes] = {}
        self._empty = Event()
        self._empty.set()

    @property
    def is_empty(self) -> bool:
        return self._empty.is_set()

    def put(self, message: Any, *, standing: bool = False, request_id: int = 0) -> None:
        """Queue a message; ``request_id``: of the question that it answers.

        Raises:
            ValueError: it is too large for a frame.
        """
        frame = encode(message, request_id)
        with self._lock:
            if standing:
                self._standing[type(message)] = frame
            self._queue.append((frame, standing))
            self._empty.clear()

    def first(self) -> Optional[bytes]:
        """The frame to send next; it stays until it is removed."""
        with self._lock:
            return self._queue[0][0] if self._queue else None

    def remove_first(self) -> None:
        with self._lock:
            self._queue.popleft()
            self._mark()

    def begin_connection(self) -> None:
        """Put the standing messages in front, each once; a frame that the last connection cut off goes whole."""
        with self._lock:
            others = [item for item in self._queue if not item[1]]
            self._queue = deque([(frame, True) for frame in self._standing.values()] + others)
            self._mark()

    def abandon(self) -> None:
        """Drop everything: there is nobody to send it to."""
        with self._lock:
            self._queue.clear()
            self._mark()

    def wait_empty(self, timeout: float) -> bool:
        """Block until everything has been taken; False after ``timeout`` seconds."""
        return self._empty.wait(timeout)

    def _mark(self) -> None:
        if self._queue:
            self._empty.clear()
        else:
            self._empty.set()
