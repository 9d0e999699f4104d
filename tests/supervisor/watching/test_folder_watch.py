"""Watching a folder: when a look is due, and what happens where the kernel has no events to give."""

import asyncio
import errno
import itertools
import os
import re
import threading
import time

import pytest
from watchdog.observers.inotify_c import InotifyFD

from supervisor.watching import folder_watch
from supervisor.watching.folder_watch import FolderWatch
from tests.fakes.file_events import OF_A_SAVE, counted_events
from tests.fakes.processes import descriptors_below
from tests.fakes.waiting import DEADLINE, until

NEVER = 600.0
"""Seconds between two looks where events alone are to bring one."""


class Looks:
    """Counts looks; remembers what lay in the folder at each, and when it was."""

    def __init__(self, folder):
        self.folder = folder
        self.seen = []
        self.moments = []
        self.error = None
        self.then = []

    async def __call__(self):
        self.moments.append(time.monotonic())
        self.seen.append(sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else None)
        if self.then:
            self.then.pop()()
        if self.error is not None:
            raise self.error

    async def see(self, *names):
        await until(lambda: self.seen and self.seen[-1] == sorted(names), f"{names} are seen", DEADLINE)

    async def number(self, count):
        await until(lambda: len(self.seen) >= count, f"look number {count}", DEADLINE)


def watched(folder, scenario, interval=NEVER, ignored=lambda _: False, make_inotify=InotifyFD):
    """Let ``scenario(watch, looks)`` play; nothing of the watch must be left afterwards."""

    async def main():
        watch, looks = FolderWatch(folder, interval, ignored, make_inotify), Looks(folder)
        watch.start(looks)
        try:
            await looks.number(1)
            await scenario(watch, looks)
        finally:
            await watch.close()

    threads = set(threading.enumerate())
    asyncio.run(main())
    left = [thread for thread in set(threading.enumerate()) - threads if not thread.name.startswith("asyncio_")]
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("act", ["write", "rename", "remove", "append", "link"])
def test_whatever_is_done_with_a_file_leads_to_a_look(tmp_path, act):
    """Long before the interval is over."""
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "old.py").write_text("x = 1")
    (tmp_path / "draft").write_text("x = 2")
    acts = {
        "write": lambda: (folder / "new.py").write_text("x = 3"),
        "rename": lambda: (tmp_path / "draft").rename(folder / "old.py"),
        "remove": (folder / "old.py").unlink,
        "append": lambda: (folder / "old.py").open("a").close() or os.utime(folder / "old.py"),
        "link": lambda: (folder / "link.py").symlink_to(tmp_path / "draft"),
    }

    async def scenario(_watch, looks):
        acts[act]()
        await looks.number(2)

    watched(folder, scenario)


@pytest.mark.slow
def test_a_look_does_not_lead_to_another_one(tmp_path, monkeypatch):
    """watchdog tells of reading, too."""
    events = counted_events(monkeypatch)
    (tmp_path / "a.py").write_text("x = 1")

    async def scenario(_watch, looks):
        for number in (2, 3):
            (tmp_path / "a.py").read_text()
            list(tmp_path.iterdir())
            (tmp_path / "a.py").write_text(f"x = {number}")
            await looks.number(number)
        assert len(events) == 2 * OF_A_SAVE

    watched(tmp_path, scenario)


@pytest.mark.slow
def test_a_burst_of_events_leads_to_one_look_when_it_is_over(tmp_path, monkeypatch):
    """A checkout writes many files: they are looked at together."""
    events = counted_events(monkeypatch)
    monkeypatch.setattr(folder_watch, "QUIET", 1.0)  # the loop may be kept from it for a while
    monkeypatch.setattr(folder_watch, "LONGEST_WAIT", NEVER)

    async def scenario(_watch, looks):
        for number in range(50):
            before = len(events)
            (tmp_path / f"{number:02}.py").write_text("x = 1")
            await until(lambda before=before: len(events) > before, "it is told of", DEADLINE)
        await looks.number(2)
        assert len(looks.seen[1]) == 50

    watched(tmp_path, scenario)


@pytest.mark.slow
def test_a_folder_that_is_never_quiet_is_looked_at_all_the_same(tmp_path, monkeypatch):
    """Something writes into it all the time."""
    monkeypatch.setattr(folder_watch, "QUIET", 0.3)
    monkeypatch.setattr(folder_watch, "LONGEST_WAIT", 0.5)

    async def scenario(_watch, looks):
        while len(looks.seen) < 3:
            (tmp_path / "noise").write_text(str(time.monotonic()))
            await asyncio.sleep(0.01)
        assert looks.moments[2] - looks.moments[1] >= 0.4

    watched(tmp_path, scenario)


def test_who_looks_may_have_the_next_look_soon(tmp_path):
    """Only that one: the look after it is at its usual time."""

    async def scenario(watch, looks):
        looks.then = [lambda: watch.look_again(0.01)]
        (tmp_path / "a.py").touch()
        await looks.number(3)
        await asyncio.sleep(4 * folder_watch.QUIET)
        assert len(looks.seen) == 3

    watched(tmp_path, scenario)


def test_without_events_there_is_a_look_at_every_interval(tmp_path):
    """They are what notices a directory that comes to be."""

    async def scenario(_watch, looks):
        await looks.number(5)
        assert all(later - earlier >= 0.009 for earlier, later in zip(looks.moments, looks.moments[1:], strict=False))

    watched(tmp_path / "none", scenario, interval=0.01)


def test_another_interval_counts_from_now_on(tmp_path):
    """Whoever waits ten minutes must not wait for their end."""

    async def scenario(watch, looks):
        watch.interval = 0.01
        await looks.number(5)
        watch.interval = NEVER
        watch.interval = NEVER  # the same: no reason to look
        assert watch.interval == NEVER

    watched(tmp_path, scenario)


def test_a_look_that_fails_is_not_the_last_one(tmp_path, caplog):
    """The boundary to whoever looks."""

    async def scenario(_watch, looks):
        looks.error = ZeroDivisionError()
        await looks.number(3)

    watched(tmp_path, scenario, interval=0.01)
    assert f"Cannot look at {tmp_path}; trying again" in caplog.text


@pytest.mark.slow
def test_a_folder_may_be_missing_and_be_made_and_removed_and_made_again(tmp_path):
    """Each time its events are had again, once it has been looked at. Inode numbers are used again, too."""
    folder = tmp_path / "watched"

    async def scenario(watch, looks):
        for _ in range(3):
            folder.mkdir()
            watch.interval = 0.02
            await looks.see()
            watch.interval = NEVER
            await asyncio.sleep(0)  # that change is a reason to look as well
            await looks.see()
            (folder / "a.py").touch()
            await looks.see("a.py")
            (folder / "a.py").unlink()
            await looks.see()
            folder.rmdir()
            await until(lambda: looks.seen[-1] is None, "it is gone", DEADLINE)

    watched(folder, scenario)


@pytest.mark.slow
def test_another_folder_in_its_place_is_watched_instead(tmp_path):
    """Also where the folder is a link that leads elsewhere now."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link = tmp_path / "watched"
    link.symlink_to("one")

    async def scenario(watch, looks):
        (tmp_path / "one" / "a.py").touch()
        await looks.see("a.py")
        link.unlink()
        link.symlink_to("two")
        watch.interval = NEVER - 1  # the interval is over
        await looks.see()
        (tmp_path / "two" / "b.py").touch()
        await looks.see("b.py")

    watched(link, scenario)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "inotify instance limit reached"), "reached; changes are .*max_user_instances"),
        (RuntimeError("can't start new thread"), "can't start new thread; changes are"),
    ],
    ids=["instances", "threads"],
)
def test_without_an_inotify_instance_there_is_still_the_regular_look(tmp_path, caplog, error, said):
    """It says so once, and what to do."""

    def no_inotify():
        raise error

    async def scenario(_watch, looks):
        await looks.number(2)
        (tmp_path / "a.py").touch()
        await looks.see("a.py")

    watched(tmp_path, scenario, interval=0.01, make_inotify=no_inotify)
    assert caplog.text.count(f"The kernel gives no events of {tmp_path}: ") == 1
    assert re.search(said, caplog.text)


def test_without_watches_left_there_is_still_the_regular_look(tmp_path, caplog, monkeypatch):
    """fs.inotify.max_user_watches. It is tried again at every look: the limit may be raised meanwhile."""
    events = counted_events(monkeypatch)

    class NoWatchLeft(InotifyFD):
        limit = 0

        def add_callback(self, *arguments):
            if not self.limit:
                raise OSError(errno.ENOSPC, "inotify watch limit reached")
            return super().add_callback(*arguments)

    async def scenario(_watch, looks):
        await looks.number(3)
        (tmp_path / "a.py").touch()
        await looks.see("a.py")
        assert events == []
        NoWatchLeft.limit = 1
        await looks.number(len(looks.seen) + 2)
        (tmp_path / "b.py").touch()
        await until(lambda: events, "there are events", DEADLINE)

    watched(tmp_path, scenario, interval=0.01, make_inotify=NoWatchLeft)
    assert caplog.text.count("watch limit reached; changes are noticed by looking regularly; raise") == 1
    assert "fs.inotify.max_user_watches" in caplog.text


def test_without_descriptors_there_is_still_the_regular_look(tmp_path, caplog):
    """Row 31, for real: no inotify instance is to be had."""

    def make_inotify():
        with descriptors_below(3):
            return InotifyFD()

    async def scenario(_watch, looks):
        await looks.number(3)

    watched(tmp_path, scenario, interval=0.01, make_inotify=make_inotify)
    assert caplog.text.count("The kernel gives no events of") == 1


@pytest.mark.slow
def test_a_name_that_never_matters_is_no_reason_to_look(tmp_path, monkeypatch):
    """A plugin that writes into its database all the time must not keep others from being looked at when quiet."""
    events = counted_events(monkeypatch)
    (tmp_path / "a.py").touch()

    async def scenario(_watch, looks):
        for _ in range(20):
            (tmp_path / "app.db-wal").write_text("x")
            (tmp_path / "app.db").write_text("x")
            (tmp_path / "app.db-wal").unlink()
        (tmp_path / "a.py").write_text("x = 1")
        await looks.number(2)
        assert len(events) == OF_A_SAVE

    watched(tmp_path, scenario, ignored=lambda name: ".db" in name)


def test_where_there_are_events_a_look_that_nothing_prompts_is_rarer(tmp_path):
    """It costs time, and finds what the kernel does not tell of."""

    async def scenario(_watch, looks):
        await looks.number(3)
        apart = [later - earlier for earlier, later in itertools.pairwise(looks.moments)]
        assert all(seconds >= 0.02 * folder_watch.RARER - 0.001 for seconds in apart)

    watched(tmp_path, scenario, interval=0.02)


@pytest.mark.slow
def test_directories_that_a_look_finds_have_events_from_then_on(tmp_path, monkeypatch):
    """And are looked at once more: something may have happened between the look and the first event."""
    events = counted_events(monkeypatch)
    files = [tmp_path / "a.py", tmp_path / "sub" / "a.py", tmp_path / "other" / "a.py"]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    top, sub, other = files

    async def scenario(watch, looks):
        watch.directories = {**watch.directories, str(sub.parent): lambda _: False}
        watch.interval = NEVER - 1  # a reason to look
        await looks.number(3)
        other.write_text("x = 1")
        sub.write_text("x = 1")
        await looks.number(4)
        watch.directories = {str(tmp_path): lambda _: False}
        for number in (5, 6):  # what the first look finds holds when the second one begins
            watch.interval = NEVER + number
            await looks.number(number)
        sub.write_text("x = 2")
        top.write_text("x = 2")
        await looks.number(7)
        assert len(events) == 2 * OF_A_SAVE

    watched(tmp_path, scenario)


def test_closing_gives_up_a_look_under_way(tmp_path):
    """And closing what was never started is nothing."""

    async def main():
        begun = asyncio.Event()

        async def look():
            begun.set()
            await asyncio.Event().wait()

        watch = FolderWatch(tmp_path, NEVER)
        await watch.close()
        watch.start(look)
        await begun.wait()
        await watch.close()

    asyncio.run(main())
