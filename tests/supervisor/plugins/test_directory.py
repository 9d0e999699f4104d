"""Whoever follows the plugin directory is told of every change, once, and of nothing else."""

import asyncio
import itertools
import threading
import time
from contextlib import asynccontextmanager

import pytest

from supervisor.config.settings import SnapshotSettings
from supervisor.errors import ConfigurationError
from supervisor.plugins import folder as plugin_folder
from supervisor.plugins.directory import PluginDirectory
from supervisor.watching import folder_watch, followed_directory
from supervisor.watching.directory_look import Difference, Look
from tests.fakes.file_events import OF_A_SAVE, counted_events
from tests.fakes.waiting import DEADLINE, until

pytestmark = pytest.mark.slow

NEVER = 600.0
"""Seconds between two looks where events alone are to bring one."""


def write(folder, text="x = 1", name="run.py"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


class Follower:
    """Keeps what it was told, and when; rebuilds from it which folders there are."""

    def __init__(self, directory):
        self.told = []
        self.moments = []
        self.folders = {}
        self.looks = 0
        self.threads = set()
        self.ignores = SnapshotSettings().ignores
        self.barriers = itertools.count()
        self.path = directory
        self.env_file = ".env"
        """Of each plugin, as far as it is known."""
        self.directory = PluginDirectory(directory, self._ignores, NEVER, lambda _: self.env_file)

    def _ignores(self):
        self.looks += 1
        return self.ignores

    def follow(self, difference, folders):
        self.threads.add(threading.current_thread())
        self.told.append(difference)
        self.moments.append(time.monotonic())
        for name in (*difference.new, *difference.changed):
            self.folders[name] = folders[name]
        for name in difference.removed:
            del self.folders[name]

    def files(self, name):
        """Of a plugin, as last told."""
        return self.folders[name].snapshot.files

    def now(self):
        """What whoever looks for the first time sees."""
        return plugin_folder.look(self.path, Look(), self.ignores).entries

    async def knows_all(self):
        """Wait until what was done so far has been told, and looked at again by an event: those come in order."""
        await self.directory.look()
        barrier = write(self.path / f"barrier{next(self.barriers)}")
        await self.is_told(new=(barrier.name,))

    async def is_told(self, **difference):
        expected = Difference(**difference)
        await until(lambda: expected in self.told, f"{expected} is told", DEADLINE)
        self.told.remove(expected)


@asynccontextmanager
async def following(directory):
    follower = Follower(directory)
    follower.folders.update(await follower.directory.first_look())
    follower.directory.start(follower.follow)
    try:
        await until(lambda: follower.looks >= 2, "the look at the start", DEADLINE)
        await follower.directory.look()  # after the one that is under way
        yield follower
    finally:
        await follower.directory.close()


@pytest.fixture
def plugins(tmp_path):
    write(tmp_path / "plugins" / "shop")
    return tmp_path / "plugins"


def test_what_is_done_to_plugins_is_told_by_name(plugins):
    """In the event loop, without waiting for the interval, and nothing twice."""

    async def scenario():
        async with following(plugins) as follower:
            assert list(follower.folders) == ["shop"]
            write(plugins / "new" / "pkg")
            await until(lambda: "new" in follower.folders, "the new one is told of", DEADLINE)
            await follower.knows_all()
            follower.told.clear()
            write(plugins / "new" / "pkg", "x = 2")
            await follower.is_told(changed=("new",))
            (plugins / "shop").rename(plugins / ".shop")
            await follower.is_told(removed=("shop",))
            await follower.knows_all()
            await follower.directory.look()
            assert follower.told == []
            assert follower.threads == {threading.main_thread()}
            assert follower.folders == follower.now()

    asyncio.run(scenario())


def test_the_log_names_the_files_that_changed(plugins, caplog):
    """Whoever wonders why a plugin was reloaded finds what was saved; one that cannot be read is told of elsewhere."""
    caplog.set_level("INFO")

    async def scenario():
        write(plugins / "shop", name="old.py")
        async with following(plugins) as follower:
            (plugins / "shop" / "old.py").rename(plugins / "shop" / "new.py")
            write(plugins / "shop", "x = 2")
            await follower.knows_all()

    asyncio.run(scenario())
    told = [line.removeprefix("Plugin shop has changed: ") for line in caplog.messages if "has changed" in line]
    assert set("; ".join(told).split("; ")) == {"modified run.py", "added new.py", "removed old.py"}


def test_what_is_no_code_is_told_of_to_nobody_and_not_even_looked_at(plugins, monkeypatch):
    """Environments, databases, swap files: a plugin at work changes them all the time."""
    events = counted_events(monkeypatch)

    async def scenario():
        write(plugins / "shop" / ".venv" / "lib")
        write(plugins / "shop", "/state.json", ".gitignore")
        async with following(plugins) as follower:
            for name in (
                ".venv/lib/other.py",
                "app.db",
                "app.db-journal",
                "out.log",
                ".run.py.swp",
                "run.py~",
                "state.json",
            ):
                write(plugins / "shop", "x", name)
            write(plugins / ".staged")
            write(plugins / "shop", "x = 2")
            await follower.is_told(changed=("shop",))
            assert len(events) == OF_A_SAVE
            assert follower.told == []

    asyncio.run(scenario())


def test_a_save_by_rename_is_one_change(plugins):
    """As editors do it."""

    async def scenario():
        async with following(plugins) as follower:
            run = plugins / "shop" / "run.py"
            write(plugins / "shop", "", ".run.py.swp")
            run.rename(plugins / "shop" / "run.py~")
            run.write_text("x = 2")
            (plugins / "shop" / "run.py~").unlink()
            await follower.knows_all()
            assert follower.told == [Difference(changed=("shop",))]

    asyncio.run(scenario())


def test_a_checkout_of_many_files_is_told_of_once_a_second_at_most(plugins, monkeypatch):
    """Row 48: 300 files within a second, and then quiet; the last state is the one that is known."""
    # Who writes may be kept from it for a while.
    monkeypatch.setattr(folder_watch, "QUIET", folder_watch.LONGEST_WAIT)

    async def scenario():
        async with following(plugins) as follower:
            for number in range(300):
                write(plugins / "shop" / f"pkg{number % 7}", f"x = {number}", f"m{number}.py")
                await asyncio.sleep(0.003)
            await until(lambda: len(follower.files("shop")) == 301, "all is told of", DEADLINE)
            apart = [later - earlier for earlier, later in itertools.pairwise(follower.moments)]
            assert all(seconds >= 0.99 * folder_watch.LONGEST_WAIT for seconds in apart)
            assert follower.files("shop") == follower.now()["shop"].snapshot.files

    asyncio.run(scenario())


def test_new_folders_have_events_as_deep_as_they_go(plugins):
    """Each look finds more of them."""

    async def scenario():
        async with following(plugins) as follower:
            deep = plugins / "shop" / "a" / "b" / "c"
            write(deep)
            await follower.knows_all()
            for text in ("x = 2", "x = 3"):
                follower.told.clear()
                write(deep, text)
                await follower.is_told(changed=("shop",))

    asyncio.run(scenario())


def test_a_linked_plugin_is_followed_to_where_it_is(plugins, tmp_path):
    """Also when the link leads elsewhere from then on."""
    one, two = write(tmp_path / "one"), write(tmp_path / "two", "x = 2")

    async def scenario():
        async with following(plugins) as follower:
            (plugins / "linked").symlink_to(one)
            await follower.is_told(new=("linked",))
            write(one, "x = 1.5")
            await follower.is_told(changed=("linked",))
            (plugins / ".next").symlink_to(two)
            (plugins / ".next").rename(plugins / "linked")
            await follower.is_told(changed=("linked",))
            await follower.knows_all()
            write(two, "x = 3")
            await follower.is_told(changed=("linked",))

    asyncio.run(scenario())


def test_a_folder_replaced_by_another_one_is_changed_not_removed(plugins, monkeypatch):
    """A deployment: the old one is away for a moment, and a look falls into it."""

    async def scenario():
        async with following(plugins) as follower:
            for delay in ("QUIET", "LONGEST_WAIT"):  # no look but those of the test
                monkeypatch.setattr(folder_watch, delay, NEVER)
            write(plugins / ".staged", "x = 2")
            (plugins / "shop").rename(plugins / ".old")
            await follower.directory.look()
            assert follower.told == []
            (plugins / ".staged").rename(plugins / "shop")
            for _ in range(3):
                await follower.directory.look()
            assert follower.told == [Difference(changed=("shop",))]

    asyncio.run(scenario())


def test_looks_at_the_same_time_tell_of_a_change_once(plugins):
    """One by an event, others since somebody asks."""

    async def scenario():
        async with following(plugins) as follower:
            write(plugins / "shop", "x = 2")
            await asyncio.gather(*(follower.directory.look() for _ in range(5)))
            await follower.knows_all()
            assert follower.told == [Difference(changed=("shop",))]

    asyncio.run(scenario())


def test_a_directory_that_is_away_for_a_while_removes_nothing(plugins, tmp_path, caplog, monkeypatch):
    """It is replaced, or not mounted; that is said once, and what changed meanwhile is told when it is back."""
    monkeypatch.setattr(followed_directory, "SECOND_LOOK", 0.05)

    async def scenario():
        async with following(plugins) as follower:
            follower.directory.interval = 0.02
            plugins.rename(tmp_path / "away")
            await until(lambda: "Cannot read the plugin directory" in caplog.text, "it is said", DEADLINE)
            for _ in range(3):
                await follower.directory.look()
            assert follower.told == []
            write(tmp_path / "away" / "shop", "x = 2")
            (tmp_path / "away").rename(plugins)
            await follower.is_told(changed=("shop",))
            follower.directory.interval = NEVER
            await follower.knows_all()
            write(plugins / "shop", "x = 3")
            await follower.is_told(changed=("shop",))

    asyncio.run(scenario())
    assert caplog.text.count("its plugins go on as they are until it is back") == 1


def test_a_directory_that_is_made_later_is_followed(tmp_path, caplog):
    """At the start that is a warning: a project has plugins."""

    async def scenario():
        async with following(tmp_path / "plugins") as follower:
            assert follower.folders == {}
            follower.directory.interval = 0.02
            write(tmp_path / "plugins" / "shop")
            await until(lambda: "shop" in follower.folders, "the plugin is told of", DEADLINE)

    asyncio.run(scenario())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"There is no plugin directory {tmp_path / 'plugins'}" in caplog.text


def test_a_directory_that_cannot_be_read_at_the_start_is_the_operators_to_mend(tmp_path):
    """The same error as for any other wrong value in the configuration."""
    (tmp_path / "README").touch()
    follower = Follower(tmp_path / "README")
    with pytest.raises(ConfigurationError, match=r"manager\.plugins\.directory: cannot read .*README: Not a directory"):
        asyncio.run(follower.directory.first_look())


def test_the_settings_in_force_say_what_is_ignored(plugins):
    """At the next look."""

    async def scenario():
        async with following(plugins) as follower:
            write(plugins / "shop", "1", "data.csv")
            await follower.is_told(changed=("shop",))
            follower.ignores = SnapshotSettings(extensions=["*.csv"]).ignores
            await follower.directory.look()
            await follower.is_told(changed=("shop",))
            await follower.directory.look()
            write(plugins / "shop", "2", "data.csv")
            await follower.knows_all()
            assert follower.told == []

    asyncio.run(scenario())


def test_an_env_file_that_is_known_of_later_is_followed_in_silence(plugins, caplog):
    """The first look comes before any manifest is read. Nobody has changed it, or just now, after it was read."""
    caplog.set_level("INFO")

    async def scenario():
        write(plugins / "shop", "secrets.env", ".gitignore")
        write(plugins / "shop", "A=1", "secrets.env")
        async with following(plugins) as follower:
            follower.env_file = "secrets.env"
            await follower.directory.look()
            await follower.is_told(changed=("shop",))
            assert "has changed" not in caplog.text
            await follower.knows_all()
            write(plugins / "shop", "A=2", "secrets.env")
            await follower.is_told(changed=("shop",))
            assert "has changed: modified secrets.env" in caplog.text

    asyncio.run(scenario())


def test_after_the_end_nobody_is_told(plugins):
    """A look that was under way, or that somebody asks for, neither."""

    async def scenario():
        async with following(plugins) as follower:
            pass
        write(plugins / "shop", "x = 2")
        await follower.directory.look()
        assert follower.told == []

    threads = set(threading.enumerate())
    asyncio.run(scenario())
    left = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")} - threads
    assert left == set()
