"""Following a log: every whole line once, whatever becomes of its files meanwhile."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.monitoring.log_files import LogFiles, Rotation
from supervisor.monitoring.log_follower import LogFollower
from tests.supervisor.monitoring.test_log_files import numbered

LINES = 100


class Log:
    """The files of one log, as the writer and others change them, and somebody who follows it."""

    def __init__(self, folder, rotation=None, tail=LINES):
        self.path = folder / "a.log"
        self.rotation = rotation or Rotation()
        self.files = LogFiles(folder, self.rotation)
        self.tail = tail

    def append(self, data):
        self.files.append("a", data)

    def tear(self, data):
        """Write without a line end, as the end of a write that is seen half-way."""
        with self.path.open("ab") as file:
            file.write(data)

    def rotate(self):
        self.path.rename(self.path.with_name("a.log.1"))

    def take_back(self, size):
        with self.path.open("ab") as file:
            file.truncate(size)

    def delete(self):
        for path in self.path.parent.iterdir():
            path.unlink()

    def followed(self):
        return LogFollower(self.rotation.paths(self.path.parent, "a"), self.tail)


def rest(follower):
    """All that there is to read at the moment."""
    lines = []
    while more := follower.read():
        lines += more
    return lines


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path)


CASES = {
    "lines are added": ([("append", b"one\ntwo\n")], ["one", "two"]),
    "half a line waits for its end": ([("tear", b"on")], []),
    "a line comes in two parts": ([("tear", b"on"), None, ("tear", b"e\n")], ["one"]),
    "a character comes in two parts": ([("tear", b"caf\xc3"), None, ("tear", b"\xa9\n")], ["café"]),
    "the file is rotated": ([("append", b"one\n"), ("rotate",), ("append", b"two\n")], ["one", "two"]),
    "it is rotated between two looks": (
        [("append", b"one\n"), None, ("rotate",), None, ("append", b"two\n")],
        ["one", "two"],
    ),
    "it is rotated after half a line was seen": (
        [("tear", b"on"), None, ("tear", b"e\n"), ("rotate",), ("append", b"two\n")],
        ["one", "two"],
    ),
    "half a line never gets its end": ([("tear", b"on"), None, ("rotate",), ("append", b"two\n")], ["on", "two"]),
    "it is deleted": ([("append", b"one\n"), None, ("delete",), ("append", b"two\n")], ["one", "two"]),
    "it is deleted unread": ([("append", b"one\n"), ("delete",), ("append", b"two\n")], ["one", "two"]),
    "it is deleted and stays away": ([("append", b"one\n"), None, ("delete",), None], ["one"]),
    "it is emptied": ([("append", b"one\n"), None, ("take_back", 0), None, ("append", b"two\n")], ["one", "two"]),
    "a write is taken back": (
        [
            ("append", b"one\n"),
            ("tear", b"two\nth"),
            None,
            ("take_back", len("begun\none\n")),
            None,
            ("append", b"four\n"),
        ],
        ["one", "two", "four"],
    ),
    "bytes are no text": ([("append", b"caf\xe9\n")], ["caf\ufffd"]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_line_is_told_once_and_whole(log, case):
    """Whatever becomes of the file; None is a look in between."""
    steps, lines = CASES[case]
    log.append(b"begun\n")
    with log.followed() as follower:
        seen = rest(follower)
        for step in steps:
            if step is None:
                seen += rest(follower)
            else:
                getattr(log, step[0])(*step[1:])
        assert seen + rest(follower) == ["begun", *lines]


def test_a_log_that_is_not_there_yet_is_waited_for(log):
    """A plugin that has printed nothing."""
    with log.followed() as follower:
        assert rest(follower) == []
        log.append(b"one\n")
        assert rest(follower) == ["one"]


@pytest.mark.parametrize("tail", [1, 2, 3, 5, 8, 9, 10, 50])
def test_it_begins_with_the_last_lines(tmp_path, tail):
    """Over rotated files; half a line at the end is none of them."""
    log = Log(tmp_path, Rotation(size=30, files=5), tail)
    log.append(numbered(0, 10))
    log.tear(b"to")
    with log.followed() as follower:
        assert rest(follower) == numbered(0, 10).decode().split()[-tail:]
        log.tear(b"rn\n")
        assert rest(follower) == ["torn"]


def test_it_begins_with_the_last_lines_of_a_long_file(log):
    """Longer than what is read at once, with lines across the borders."""
    log.append(numbered(0, 50_000))
    log.tail = 20_000
    with log.followed() as follower:
        assert rest(follower) == numbered(30_000, 50_000).decode().split()


def test_several_rotations_between_two_looks_lose_nothing(tmp_path):
    """A flood, or a terminal that was stopped for a while."""
    log = Log(tmp_path, Rotation(size=30, files=5))
    log.append(numbered(0, 2))
    with log.followed() as follower:
        log.append(numbered(2, 15))
        assert rest(follower) == numbered(0, 15).decode().split()


def test_what_is_rotated_away_unread_is_missed_and_nothing_told_twice(tmp_path):
    """It goes on with the oldest file that is left."""
    log = Log(tmp_path, Rotation(size=30, files=3))
    log.append(numbered(0, 3))
    with log.followed() as follower:
        assert rest(follower) == numbered(0, 3).decode().split()
        os.utime(log.path, (1, 1))  # the clock of the kernel turns too seldom to tell files of one test apart
        log.append(numbered(3, 30))
        assert rest(follower) == numbered(21, 30).decode().split()


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), max_size=30),
    st.integers(20, 90),
    st.integers(1, 30),
)
def test_the_tail_and_what_is_read_are_all_that_was_written(tmp_path_factory, bursts, size, tail):
    """However many lines come between two looks, and whenever it is rotated."""
    log = Log(tmp_path_factory.mktemp("logs"), Rotation(size=size, files=1000), tail)
    log.append(numbered(0, 20))
    written = 20
    with log.followed() as follower:
        lines = []
        for burst, reads in bursts:
            log.append(numbered(written, written + burst))
            written += burst
            for _ in range(reads):
                lines += follower.read()
        lines += rest(follower)
    assert lines == numbered(0, written).decode().split()[max(20 - tail, 0) :]
