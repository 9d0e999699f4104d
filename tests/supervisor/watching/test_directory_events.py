"""The kernel's events of many directories: of which there are some, and what is left when they end."""

import errno
import os
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyFD

from supervisor.watching.directory_events import DirectoryEvents
from tests.fakes.waiting import DEADLINE

pytestmark = pytest.mark.slow


class Told:
    """Counts what it is told of; can be waited for without an event loop."""

    def __init__(self):
        self.count = 0
        self._told = threading.Condition()

    def __call__(self):
        with self._told:
            self.count += 1
            self._told.notify_all()

    @contextmanager
    def once_more(self):
        with self._told:
            before = self.count
        yield
        with self._told:
            assert self._told.wait_for(lambda: self.count > before, DEADLINE), "nobody was told"


def everything(_name):
    return True


def nothing(_name):
    return False


def every(*folders):
    return {str(folder): nothing for folder in folders}


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def events(told):
    with closing(DirectoryEvents(told)) as events:
        yield events


@contextmanager
def barrier(told, events, folder, wanted):
    """What was done before has been told of, if it ever is: events come in order."""
    folder.mkdir()
    events.follow({**wanted, **every(folder)})
    yield
    with told.once_more():
        (folder / "barrier").touch()


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_two_hundred_folders_take_one_thread_and_leave_nothing(tmp_path, told):
    """watchdog's own observer takes one for each."""
    folders = [tmp_path / str(number) for number in range(200)]
    for folder in folders:
        folder.mkdir()
    threads, fds = threading.active_count(), descriptors()
    events = DirectoryEvents(told)
    assert events.follow(every(*folders))
    assert events.is_complete
    assert threading.active_count() == threads + 1
    for folder in (folders[0], folders[100], folders[199]):
        with told.once_more():
            (folder / "run.py").touch()
    events.close()
    assert (threading.active_count(), descriptors()) == (threads, fds)
    assert not events.follow(every(*folders))
    events.close()


def test_what_is_ignored_is_told_of_to_nobody(tmp_path, told, events):
    """By its name, in this directory."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    wanted = {str(one): lambda name: name == "app.db", str(two): nothing}
    with barrier(told, events, tmp_path / "barrier", wanted):
        (one / "app.db").write_text("x")
        (one / "app.db").unlink()
        (one / "app.db").mkdir()
    assert told.count <= 3  # of the barrier: made, closed, its time set
    for path in (one / "app.py", two / "app.db"):
        with told.once_more():
            path.touch()


def test_a_file_is_told_of_when_it_is_closed_not_at_every_write(tmp_path, told, events):
    """Whoever saves a file closes it; a log or a database is kept open, and written to for ever."""
    file = (tmp_path / "file").open("w")
    events.follow(every(tmp_path))
    with barrier(told, events, tmp_path / "barrier", every(tmp_path)):
        before = told.count
        for _ in range(100):
            file.write("x")
            file.flush()
    assert told.count <= before + 3
    with told.once_more():
        file.close()


def test_a_directory_that_two_paths_lead_to_tells_of_what_matters_on_one_of_them(tmp_path, told, events):
    """One watch; a plugin may be linked into the directory twice."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    assert events.follow({str(real): everything, str(tmp_path / "link"): nothing})
    assert events.is_complete
    with told.once_more():
        (real / "run.py").touch()
    events.follow({str(real): everything})
    with barrier(told, events, tmp_path / "barrier", {str(real): everything}):
        before = told.count
        (real / "other.py").touch()
    assert told.count <= before + 3


def test_a_directory_that_is_not_wanted_any_more_tells_nothing(tmp_path, told, events):
    """And no watch is spent on it."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert events.follow(every(one, two))
    assert not events.follow(every(two))
    with barrier(told, events, tmp_path / "barrier", every(two)):
        (one / "run.py").touch()
    assert told.count <= 3


def test_a_directory_that_was_made_again_has_events_again(tmp_path, told, events):
    """It may have the inode of the one before, whose watch is gone."""
    folder = tmp_path / "folder"
    for _ in range(20):
        folder.mkdir()
        events.follow(every(folder))
        with told.once_more():
            folder.rmdir()
    folder.mkdir()
    while not events.follow(every(folder)):  # its end may not have been told of yet
        with told.once_more():
            pass
    with told.once_more():
        (folder / "run.py").touch()


@pytest.mark.parametrize("act", ["rename", "retarget"])
def test_a_path_that_leads_elsewhere_has_events_of_what_is_there_now(tmp_path, told, events, act):
    """Deployments rename folders as a whole, or turn a link."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("one")
    path = tmp_path / ("link" if act == "retarget" else "one")
    events.follow(every(path))
    assert not events.follow(every(path))
    if act == "retarget":
        path.unlink()
        path.symlink_to("two")
    else:
        path.rename(tmp_path / "former")
        (tmp_path / "two").rename(path)
    assert events.follow(every(path))
    with told.once_more():
        (path / "run.py").touch()


def test_a_directory_that_vanished_since_the_look_may_have_changed(tmp_path, events):
    """Its last event is lost with the watch that is given up for it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    events.follow(every(folder))
    folder.rename(tmp_path / "aside")
    assert events.follow(every(folder))
    assert not events.is_complete
    assert not events.follow(every(folder))


def test_a_file_in_the_place_of_a_directory_has_no_events(tmp_path, events):
    """It was one when it was looked at."""
    (tmp_path / "file").touch()
    assert not events.follow(every(tmp_path / "file", tmp_path / "none"))
    assert not events.is_complete


def test_lost_events_are_a_reason_to_look(tmp_path, told):
    """The kernel's queue is bounded; whoever looks finds out what was lost."""
    made = []

    def make_inotify():
        made.append(InotifyFD())
        return made[0]

    with closing(DirectoryEvents(told, make_inotify)) as events:
        events.follow(every(tmp_path))
        with told.once_more():
            (watch,) = made[0]._watch_for_wd.values()
            for callback in watch.callbacks.values():
                callback.on_queue_overflow()


class Limited(InotifyFD):
    """Has watches for so many directories."""

    limit = 0
    error = OSError(errno.ENOSPC, "inotify watch limit reached")

    def add_callback(self, path, *rest):
        if len(self._watch_for_wd) >= self.limit:
            raise self.error
        return super().add_callback(path, *rest)


def test_where_watches_run_out_those_that_are_had_go_on(tmp_path, told, caplog, monkeypatch):
    """It is said once, with what to do; more are taken as soon as there are more."""
    folders = [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(Limited, "limit", 2)
    with closing(DirectoryEvents(told, Limited)) as events:
        assert events.follow(every(*folders))
        assert not events.follow(every(*folders))
        assert not events.is_complete
        with told.once_more():
            (folders[1] / "run.py").touch()
        monkeypatch.setattr(Limited, "limit", 4)
        assert events.follow(every(*folders))
        assert events.is_complete
        monkeypatch.setattr(Limited, "limit", 0)
        events.follow(every(*folders, tmp_path))
    (record,) = caplog.records
    assert record.getMessage() == (
        f"The kernel gives no events of {folders[2]} and 1 more: inotify watch limit reached; changes are "
        "noticed by looking regularly; raise fs.inotify.max_user_watches with sysctl"
    )


def test_a_directory_that_may_not_be_read_has_no_events(tmp_path, told):
    """watchdog keeps that to itself; a test that runs as root cannot cause it."""

    class Refused(InotifyFD):
        def add_callback(self, _path, *rest):
            return super().add_callback(os.fsencode(tmp_path / "refused"), *rest)

        @staticmethod
        def _raise_error(*, ignore_invalid_argument=False):
            """As watchdog does for EACCES."""

    with closing(DirectoryEvents(told, Refused)) as events:
        assert not events.follow(every(tmp_path))
        assert not events.is_complete
        assert not events.follow(every(tmp_path))


def test_without_a_thread_no_descriptor_is_left(tmp_path, told, caplog):
    """It would have been the thread's to close them."""

    class NoThread(InotifyFD):
        def start(self):
            raise RuntimeError("can't start new thread")

    before = descriptors()
    events = DirectoryEvents(told, NoThread)
    assert not events.follow(every(tmp_path))
    assert not events.follow(every(tmp_path))
    assert descriptors() == before
    assert caplog.text.count("can't start new thread") == 1
