"""Writes of one turn leave together, in order, and flow control still holds."""

import asyncio

import pytest

from gateway.joining_transport import JoiningTransport

LARGE = bytes(64 * 1024)


class Below(asyncio.Transport):
    """A transport that records what it is asked for."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def write(self, data):
        self.calls.append(("write", data))

    def writelines(self, list_of_data):
        self.calls.append(("writelines", list(list_of_data)))

    def close(self):
        self.calls.append(("close",))

    def is_closing(self):
        return ("close",) in self.calls

    def pause_reading(self):
        self.calls.append(("pause_reading",))

    def resume_reading(self):
        self.calls.append(("resume_reading",))

    def get_extra_info(self, name, default=None):
        return {"peername": ("127.0.0.1", 1)}.get(name, default)


def run(scenario):
    async def main():
        below = Below()
        await scenario(JoiningTransport(below, asyncio.get_running_loop()), below)

    asyncio.run(main())


def test_head_and_body_of_one_turn_are_one_write():
    """Two writes would be two system calls and wake the client twice."""

    async def scenario(transport, below):
        transport.write(b"head ")
        transport.writelines([b"bo", b"dy"])
        assert below.calls == []
        await asyncio.sleep(0)
        assert below.calls == [("write", b"head body")]

    run(scenario)


def test_another_turn_is_another_write():
    """A streamed chunk waits for nothing but the end of its turn."""

    async def scenario(transport, below):
        for chunk in (b"one", b"two"):
            transport.write(chunk)
            await asyncio.sleep(0)
        assert below.calls == [("write", b"one"), ("write", b"two")]

    run(scenario)


def test_large_chunks_leave_at_once_and_uncopied():
    """Whoever streams a long body is to be paused by the transport below as soon as the client is too slow."""

    async def scenario(transport, below):
        transport.write(b"head")
        transport.write(LARGE)
        assert below.calls == [("writelines", [b"head", LARGE])]
        assert below.calls[0][1][1] is LARGE
        await asyncio.sleep(0)
        assert len(below.calls) == 1

    run(scenario)


def test_closing_sends_first_what_waits():
    """A response with ``Connection: close`` is written and closed in the same turn."""

    async def scenario(transport, below):
        transport.write(b"last words")
        transport.close()
        await asyncio.sleep(0)
        assert below.calls == [("write", b"last words"), ("close",)]
        assert transport.is_closing()

    run(scenario)


def test_what_waits_for_a_lost_connection_is_dropped():
    """uvloop raises where a closed transport is written to, and nobody would catch that."""

    async def scenario(transport, below):
        transport.write(b"too late")
        below.close()
        await asyncio.sleep(0)
        assert below.calls == [("close",)]

    run(scenario)


@pytest.mark.parametrize("name", ["pause_reading", "resume_reading"])
def test_reading_is_paused_and_resumed_below(name):
    """Uploads are held back through the same transport."""

    async def scenario(transport, below):
        getattr(transport, name)()
        assert below.calls == [(name,)]
        assert transport.get_extra_info("peername") == ("127.0.0.1", 1)
        assert transport.get_extra_info("missing", "default") == "default"

    run(scenario)
