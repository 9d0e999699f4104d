"""An event loop whose time passes only while it has nothing to do, and both clocks with it."""

import asyncio
import selectors


class VirtualClock:
    """Both clocks of the supervisor; people set the wall clock, and the machine may be suspended."""

    def __init__(self, time: float = 1_700_000_000.0) -> None:
        self._monotonic = 1000.0
        self._offset = time - self._monotonic

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._monotonic + self._offset

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds

    def set_wall(self, by: float) -> None:
        """Somebody sets the wall clock forward, or back. As little is seen of the monotonic one while suspended."""
        self._offset += by


class _Selector(selectors.DefaultSelector):
    """Instead of waiting it advances the clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "waits for what never comes"
            self._clock.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Used as ``asyncio.Runner(loop_factory=lambda: VirtualLoop(clock))``."""

    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        return self._virtual.monotonic()


def run_virtually(clock: VirtualClock, main) -> None:
    """asyncio.run for a test that nothing makes wait."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.run(main)
