"""What children print: lines that can do no harm, from pipes that can do none either."""

import asyncio
import os
import signal
import subprocess
import threading
import tracemalloc
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.clock import SystemClock
from supervisor.monitoring.log_files import LogFiles, LogWriter, Rotation
from supervisor.processes.output import CUT_MARK, LINE_LIMIT, TAIL_LINE_LIMIT, TAIL_LINES, LineSplitter, Output, Pipe
from tests.fakes.processes import command, until, wait_until

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


# --- splitting, pure ---


def split(data: bytes, limit: int = LINE_LIMIT) -> list[str]:
    splitter = LineSplitter(limit)
    return splitter.feed(data) + splitter.close()


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"no newline", ["no newline"]),
        (b"\n\nx", ["", "", "x"]),
        (b"tab\tstays\n", ["tab\tstays"]),
        (b"crlf\r\nlf\n", ["crlf", "lf"]),
        (b"last\r", ["last"]),
        (b"real\rfake\n", ["real\\rfake"]),
        (b"\x00\n", ["\\x00"]),
        (b"\x1b[2J\x1b]0;title\x07\n", ["\\x1b[2J\\x1b]0;title\\x07"]),
        (b"\x7f\x08\x0b\x0c\n", ["\\x7f\\x08\\x0b\\x0c"]),
        ("\x9b2J\x85\n".encode(), ["\\x9b2J\\x85"]),
        ("a\u2028b\u2029c\n".encode(), ["a\\u2028b\\u2029c"]),
        ("\u202eevil\u2066\u200f\n".encode(), ["\\u202eevil\\u2066\\u200f"]),
        (b"\xff\xfe ok \xc3\n", ["\\xff\\xfe ok \\xc3"]),
        (b"cut off \xe2\x82", ["cut off \\xe2\\x82"]),
        ("€ 日本 😀\n".encode(), ["€ 日本 😀"]),
        (b"<script>alert(1)</script>\n", ["<script>alert(1)</script>"]),
    ],
)
def test_lines_are_split_and_made_harmless(data, lines):
    """Row 20: escaped are controls, line ends of other readers, changes of direction and bytes that are no UTF-8."""
    assert split(data) == lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"12345\n", ["12345"]),
        (b"123456\n", ["12345" + CUT_MARK, "6"]),
        (b"123456", ["12345" + CUT_MARK, "6"]),
        (b"1234567890\nx\n", ["12345" + CUT_MARK, "67890", "x"]),
        (b"12345\r\n", ["12345" + CUT_MARK, ""]),
        ("ääääää\n".encode(), ["äääää" + CUT_MARK, "ä"]),
    ],
)
def test_a_line_that_is_too_long_goes_on_in_the_next_one(data, lines):
    """Row 20: nothing is lost, and no character is torn."""
    assert split(data, limit=5) == lines


controls = st.characters(codec="utf-8", categories=["Cc", "Cf", "Zl", "Zp"]).map(str.encode)
pieces = st.sampled_from([b"\n", b"\r\n", b"\r", b"\x1b[1m", b"abcdefgh", "日€😀".encode()])
texts = st.lists(st.binary(max_size=8) | controls | pieces, max_size=30).map(b"".join)


@pytest.mark.slow
@settings(deadline=None)
@given(texts, st.lists(st.integers(0, 200)))
def test_the_lines_do_not_depend_on_how_the_bytes_arrive(data, cuts):
    """A read ends anywhere: within a character, between CR and LF, at the limit."""
    splitter = LineSplitter(limit=7)
    edges = [0, *sorted(cuts), len(data)]
    lines = [line for start, end in pairwise(edges) for line in splitter.feed(data[start:end])]
    assert lines + splitter.close() == split(data, limit=7)


@pytest.mark.slow
@settings(deadline=None)
@given(texts)
def test_no_line_holds_what_is_unsafe(data):
    """Row 20: whatever a plugin prints, a viewer of the log sees it as text of that plugin."""
    for char in "".join(split(data)):
        assert char == "\t" or unicodedata.category(char) not in {"Cc", "Zl", "Zp"}
        assert unicodedata.bidirectional(char) not in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_a_stream_without_newlines_is_held_in_bounded_memory():
    """Row 20: 100 MB without a newline; here 32."""
    splitter = LineSplitter()
    chunk = b"x" * LINE_LIMIT
    tracemalloc.start()
    try:
        pieces = sum(len(splitter.feed(chunk)) for _ in range(512))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pieces == 511
    assert peak < 16 * LINE_LIMIT


@pytest.mark.parametrize("data", [b"\0" * 65536, b"\n" * 65536, bytes(range(256)) * 256])
def test_hostile_bytes_are_not_handled_one_by_one(data):
    """One turn of the event loop must stay short whatever is in it; five seconds for 2 MiB is generous."""
    splitter = LineSplitter()
    done = threading.Event()
    threading.Thread(target=lambda: ([splitter.feed(data) for _ in range(32)], done.set())).start()
    assert done.wait(timeout=5)


# --- pipes ---


class Recorder:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, str, list[str]]] = []

    def __call__(self, instance: str, stream: str, lines: list[str]) -> None:
        self.batches.append((instance, stream, lines))

    def lines(self, stream: str) -> list[str]:
        return [line for _, name, lines in self.batches if name == stream for line in lines]


@contextmanager
def pipe(folder: Path, stream: str = "out") -> Iterator[tuple[Pipe, int]]:
    """A reading end and a child's end of one FIFO."""
    path = folder / f"a1.{stream}"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield Pipe.open(stream, path), end
    finally:
        os.close(end)


def test_lines_arrive_with_instance_and_stream(tmp_path):
    """The sink writes them into one file per plugin and must be able to tell them apart."""

    async def body() -> None:
        sink = Recorder()
        with pipe(tmp_path) as (out, out_end), pipe(tmp_path, "err") as (err, err_end):
            output = Output(asyncio.get_running_loop(), [out, err], "hello.1", sink)
            output.start()
            os.write(out_end, b"to out\nrest")
            await until(lambda: sink.batches, "the first line is there")
            os.write(err_end, b"to err\n")
            await until(lambda: len(sink.batches) > 1, "the second line is there")
            output.finish()
        assert sink.batches == [
            ("hello.1", "out", ["to out"]),
            ("hello.1", "err", ["to err"]),
            ("hello.1", "out", ["rest"]),
        ]
        assert output.tail == ["to out", "to err", "rest"]

    asyncio.run(body())


def test_finish_reads_what_the_dead_child_left_and_removes_the_fifos(tmp_path):
    """The last lines before a crash are the ones that matter; the event loop may not have had a turn for them."""

    async def body() -> None:
        sink = Recorder()
        with pipe(tmp_path) as (out, end):
            output = Output(asyncio.get_running_loop(), [out], "hello.1", sink)
            output.start()
            os.write(end, b"".join(b"%d\n" % number for number in range(5000)) + b"the end")
            output.finish()
            output.finish()
        assert sink.lines("out") == [*map(str, range(5000)), "the end"]
        assert list(tmp_path.iterdir()) == []

    asyncio.run(body())


@pytest.mark.process
def test_finish_does_not_wait_for_a_survivor_that_goes_on_writing(tmp_path):
    """A daemon that outlived its child may still hold the pipe, and fill it faster than it is read."""

    async def body() -> None:
        sink = Recorder()
        with (
            pipe(tmp_path) as (out, _),
            out.path.open("r+b", buffering=0) as end,
            subprocess.Popen(command("floods_stdout.py", 1 << 40, 100), stdout=end) as survivor,
        ):
            output = Output(asyncio.get_running_loop(), [out], "hello.1", sink)
            output.start()
            await until(lambda: sink.batches, "the flood began")
            seen = len(sink.lines("out"))
            output.finish()
            survivor.kill()
        assert len(sink.lines("out")) - seen <= 2 * 65536 / 100 + 1

    asyncio.run(body())


def test_one_turn_of_the_event_loop_reads_a_bounded_amount(tmp_path):
    """Row 19: between two reads of a flooding child everybody else gets a turn."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        sink = Recorder()
        with pipe(tmp_path) as (out, end):
            writer = threading.Thread(target=_flood, args=(end, 200 * 65536))
            writer.start()
            output = Output(loop, [out], "hello.1", sink)
            output.start()
            turns = 0
            while writer.is_alive():
                turns += 1
                await asyncio.sleep(0)
            output.finish()
            writer.join()
        assert max(len(lines) for _, _, lines in sink.batches[:-1]) <= 16384 / 64 + 1
        assert turns >= 800

    asyncio.run(body())


def _flood(fd: int, size: int) -> None:
    os.set_blocking(fd, True)
    line = b"x" * 63 + b"\n"
    for _ in range(size // 4096):
        os.write(fd, line * 64)


@pytest.mark.process
def test_a_child_that_closes_its_output_costs_nothing(tmp_path):
    """Row 21: a FIFO without writers is readable for ever; it must not be watched any more."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        sink = Recorder()
        marker = tmp_path / "closed"
        with pipe(tmp_path) as (out, _), out.path.open("r+b", buffering=0) as end:
            child = subprocess.Popen(command("closes_stdout.py", marker), stdout=end, stderr=end)
            output = Output(loop, [out], "hello.1", sink)
        with child:
            output.start()
            await until(marker.exists, "the child has closed its output")
            await until(lambda: sink.batches, "its last words are read")
            await asyncio.sleep(0)
            assert sink.lines("out") == ["last words"]
            assert not loop.remove_reader(out.fd)
            child.kill()
        output.finish()

    asyncio.run(body())


def test_the_tail_holds_the_last_lines_of_both_streams_and_not_too_much_of_each(tmp_path):
    """It goes into the exit record, so fifty lines of 64 KiB are too much."""

    async def body() -> None:
        with pipe(tmp_path) as (out, end):
            output = Output(asyncio.get_running_loop(), [out], "hello.1", lambda *_: None)
            os.write(end, b"".join(b"%d\n" % number for number in range(100)) + b"x" * 10_000)
            output.finish()
        assert output.tail[:-1] == [str(number) for number in range(100 - TAIL_LINES + 1, 100)]
        assert output.tail[-1] == "x" * TAIL_LINE_LIMIT + CUT_MARK

    asyncio.run(body())


@pytest.mark.process
@pytest.mark.slow
def test_a_flood_costs_bounded_memory_and_disk_and_every_dropped_line_is_counted(tmp_path):
    """Row 19, with everything real: a child at full speed, the log on disk, three files of 1 MiB."""
    count, length = 400_000, 100
    rotation = Rotation(size=1024 * 1024, files=3)
    writer = LogWriter(Counted(tmp_path, rotation), SystemClock())

    async def body() -> None:
        with pipe(tmp_path) as (out, _), pipe(tmp_path, "err") as (err, _):
            with out.path.open("r+b", buffering=0) as end, err.path.open("r+b", buffering=0) as err_end:
                child = subprocess.Popen(command("floods_stdout.py", count, length), stdout=end, stderr=err_end)

            def sink(instance: str, stream: str, lines: list[str]) -> None:
                writer.write("flood", instance, stream, lines)

            output = Output(asyncio.get_running_loop(), [out, err], "flood.1", sink)
            output.start()
            with child:
                await until(lambda: child.poll() is not None, "the child is done")
            output.finish()

    writer.start()
    before = _resident()
    asyncio.run(body())
    grown = _resident() - before
    writer.close()
    assert grown < 64 * 1024 * 1024
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= rotation.size * rotation.files
    assert writer._files.lines == count + 1


class Counted(LogFiles):
    """Counts the lines that reach the disk, and those that a line there says were dropped."""

    lines = 0

    def append(self, name: str, data: bytes) -> None:
        for line in data.decode().splitlines():
            words = line.split()
            self.lines += int(words[2]) if words[1] == "..." else 1
        super().append(name, data)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.process
def test_what_a_real_child_prints_before_it_dies_at_once_is_not_lost(tmp_path):
    """It may be gone before we read for the first time; the FIFO keeps its words."""

    async def body() -> None:
        sink = Recorder()
        out_text, err_text = b"\x1b[31mred\x00\n", b"Traceback \xff\nno newline"
        with pipe(tmp_path) as (out, _), pipe(tmp_path, "err") as (err, _):
            with out.path.open("r+b", buffering=0) as end, err.path.open("r+b", buffering=0) as err_end:
                arguments = command("writes_bytes.py", out_text.hex(), err_text.hex())
                child = subprocess.Popen(arguments, stdout=end, stderr=err_end)
            wait_until(lambda: child.poll() is not None, "the child is dead")
            output = Output(asyncio.get_running_loop(), [out, err], "hello.1", sink)
            output.start()
            output.finish()
        assert sink.lines("out") == ["\\x1b[31mred\\x00"]
        assert sink.lines("err") == ["Traceback \\xff", "no newline"]
        assert child.returncode == 0

    asyncio.run(body())


@pytest.mark.process
def test_a_killed_child_leaves_its_last_words(tmp_path):
    """SIGKILL between two writes: what was written is in the pipe."""

    async def body() -> None:
        sink = Recorder()
        with pipe(tmp_path) as (out, _):
            with out.path.open("r+b", buffering=0) as end:
                child = subprocess.Popen(command("ignores_sigterm.py"), stdout=end)
            output = Output(asyncio.get_running_loop(), [out], "hello.1", sink)
            output.start()
            await until(lambda: sink.batches, "the child is ready")
            child.send_signal(signal.SIGTERM)
            await until(lambda: len(sink.lines("out")) > 1, "the child has answered")
            child.kill()
            child.wait()
            output.finish()
        assert output.tail == ["ready", "ignored"]

    asyncio.run(body())
