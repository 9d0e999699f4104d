"""The configuration of a running supervisor: shown, changed, read anew."""

import asyncio
import itertools
import json
import threading

import pytest

from plugin_runtime.protocol import Call, Error, Result
from plugin_runtime.task_views import ReloadView
from supervisor.channels.operations import Operations
from supervisor.config.live import LiveConfiguration
from supervisor.config.source import load
from supervisor.errors import ConfigurationError, ConflictError
from supervisor.reconfiguration import Reconfiguration
from tests.fakes.waiting import DEADLINE, until


class Scene:
    """A configuration in force, and what became of it."""

    def __init__(self, path, environ):
        self.path = path
        self.live = LiveConfiguration(load(path, environ))
        self.reconfiguration = Reconfiguration(self.live, path, environ)

    def write(self, document):
        self.path.write_text(document if isinstance(document, str) else json.dumps(document))

    @property
    def written(self):
        return json.loads(self.path.read_text())

    def perform(self, operation, **arguments):
        """As the gateway and the command line ask for it."""
        operations = Operations()
        operations.register(self.reconfiguration.operations)
        return asyncio.run(operations.perform(Call(operation, arguments, actor="token:ci")))


@pytest.fixture
def scene(tmp_path):
    """config.json is {}; ``environ`` overrides it."""

    def scene(**environ):
        path = tmp_path / "config.json"
        path.write_text("{}")
        return Scene(path, environ)

    return scene


# --- show and update ----------------------------------------------------------------------------------------


def test_what_is_shown_is_the_manager_section_in_force(scene):
    """With its defaults and with what the environment says; not what lies on the disk by now."""
    scene = scene(XCORE__MANAGER__TASKS__INTERVAL="9")
    scene.write({"manager": {"tasks": {"max_retries": 7}}})
    shown = scene.perform("config.show").value
    assert sorted(shown) == ["dotenv", "log", "plugins", "snapshot", "tasks"]
    assert shown["tasks"] == {
        "directory": "./backgroundtask",
        "auto_restart": True,
        "interval": 9.0,
        "max_retries": 3,
    }


def test_an_update_is_written_and_in_force_when_it_is_answered(scene):
    """Whoever asks next sees what holds."""
    scene = scene()
    assert scene.perform("config.update", key="tasks.max_retries", value=7) == Result({"tasks.max_retries": 7})
    assert scene.written == {"manager": {"tasks": {"max_retries": 7}}}
    assert scene.live.current.manager.tasks.max_retries == 7
    assert scene.perform("config.show").value["tasks"]["max_retries"] == 7


def test_auto_restart_is_one_of_the_keys(scene):
    """With a name of its own, since the founding interface has it."""
    scene = scene()
    assert scene.perform("config.autorestart", value=False) == Result({"tasks.auto_restart": False})
    assert scene.written == {"manager": {"tasks": {"auto_restart": False}}}
    assert scene.live.current.manager.tasks.auto_restart is False


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tasks.max_retrys", 1, "manager.tasks.max_retrys: unknown key; did you mean 'max_retries'?"),
        ("tasks.max_retries", "7", 'must be a whole number, not "7"'),
        ("gateway.port", 1, "manager.gateway: unknown key"),
        ("", 1, "is no key; write it like tasks.max_retries"),
        ("tasks..interval", 1, "tasks..interval: is no key"),
    ],
)
def test_what_is_not_valid_is_refused_and_nothing_has_happened(scene, key, value, message):
    """422 over HTTP: neither file nor system says anything of it. Other sections are out of reach."""
    scene = scene()
    answer = scene.perform("config.update", key=key, value=value)
    assert isinstance(answer, Error)
    assert (answer.type, answer.status) == ("Configuration", 422)
    assert message in answer.message
    assert (scene.written, scene.live.current.manager.tasks.max_retries) == ({}, 3)


def test_an_overridden_key_is_a_conflict(scene):
    """409, with the variable that it would have to be changed in."""
    scene = scene(XCORE__MANAGER__TASKS__AUTO_RESTART="true")
    answer = scene.perform("config.autorestart", value=False)
    assert (answer.type, answer.status) == ("Conflict", 409)
    assert "environment variable XCORE__MANAGER__TASKS__AUTO_RESTART" in answer.message
    assert scene.written == {}


def test_with_an_update_comes_what_the_file_says_by_now(scene):
    """It is the file that is in force, not the file of an earlier day with one key changed."""
    scene = scene()
    scene.write({"manager": {"tasks": {"auto_restart": False}}})
    scene.perform("config.update", key="tasks.max_retries", value=7)
    tasks = scene.live.current.manager.tasks
    assert (tasks.auto_restart, tasks.max_retries) == (False, 7)


# --- reload -------------------------------------------------------------------------------------------------


def test_a_reload_says_what_changed_and_who_restarts(scene, caplog):
    """What needs a new start is said, too, and in the log."""
    scene = scene()
    scene.live.subscribe(lambda _before, after: sorted(after.tasks))
    scene.write({"gateway": {"port": 1}, "tasks": {"sweep": {"max_age": 5}}})
    view = asyncio.run(scene.reconfiguration.reload("SIGHUP"))
    assert view == ReloadView(
        changed=["gateway.port", "tasks.sweep.max_age"], restarted=["sweep"], needs_restart=["gateway.port"]
    )
    assert scene.live.current.tasks["sweep"].max_age == 5
    assert "These keys take effect at the next start of xcore: gateway.port" in caplog.text


def test_a_reload_of_the_same_changes_nothing(scene):
    """However often it is asked for; what is in force now is what the next one is compared with."""
    scene = scene()
    scene.write({"manager": {"tasks": {"max_retries": 7}}})
    assert scene.perform("config.reload").value["changed"] == ["manager.tasks.max_retries"]
    nothing = {"changed": [], "restarted": [], "needs_restart": []}
    assert scene.perform("config.reload").value == nothing


def test_what_waits_for_the_next_start_is_said_by_every_reload_until_then(scene):
    """And not shown as if it were in force; what was taken back waits no more."""
    scene = scene()
    changed = {"manager": {"plugins": {"directory": "./other"}}}
    scene.write(changed)
    for _ in range(2):
        assert scene.perform("config.reload").value["needs_restart"] == ["manager.plugins.directory"]
    assert scene.perform("config.show").value["plugins"]["directory"] == "./plugins"
    scene.write({})
    assert scene.perform("config.reload").value["changed"] == []


def test_a_reload_reads_the_dotenv_file_anew(scene):
    """It is part of the configuration."""
    scene = scene()
    (scene.path.parent / ".env").write_text("XCORE__MANAGER__TASKS__MAX_RETRIES=7\nLOG_LEVEL=DEBUG\n")
    view = scene.perform("config.reload").value
    assert view["changed"] == ["manager.tasks.max_retries", "LOG_LEVEL"]
    assert view["needs_restart"] == ["LOG_LEVEL"]


@pytest.mark.parametrize("content", ["", "{", '{"gateway": {"prot": 1}}', None], ids=["empty", "half", "key", "gone"])
def test_a_file_that_is_not_valid_leaves_the_old_one_in_force(scene, content):
    """Row 43: one error with file and key; nobody is told of anything."""
    scene = scene()
    before, told = scene.live.current, []
    scene.live.subscribe(lambda *_: told.append(1) or ())
    if content is None:
        scene.path.unlink()
    else:
        scene.write(content)
    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(scene.reconfiguration.reload("SIGHUP"))
    assert caught.value.source == str(scene.path)
    assert (scene.live.current is before, told) == (True, [])
    scene.write({"manager": {"tasks": {"max_retries": 7}}})
    assert scene.perform("config.reload").value["changed"] == ["manager.tasks.max_retries"]


def test_a_reload_that_nobody_waits_for_says_in_the_log_what_is_wrong(scene, caplog):
    """A signal has no answer."""
    scene = scene()

    async def main():
        scene.write("{")
        scene.reconfiguration.reload_soon("SIGHUP")
        await until(lambda: "Kept the configuration in force" in caplog.text, "it is said", DEADLINE)
        scene.write({"manager": {"tasks": {"max_retries": 7}}})
        scene.reconfiguration.reload_soon("SIGHUP")
        await until(lambda: scene.live.current.manager.tasks.max_retries == 7, "it is in force", DEADLINE)
        scene.reconfiguration.reload_soon("SIGHUP")
        scene.reconfiguration.close()

    asyncio.run(main())


# --- at once ------------------------------------------------------------------------------------------------


def test_changes_at_once_happen_one_after_the_other(scene):
    """Each sees what the one before left; subscribers see a chain, in which nothing is passed over."""
    scene = scene()
    chain = []
    scene.live.subscribe(lambda before, after: chain.append((before, after)) or ())

    async def all_at_once():
        update, reload = scene.reconfiguration.update, scene.reconfiguration.reload
        numbers = [update("tasks.max_retries", number, "a") for number in range(5)]
        await asyncio.gather(*numbers, reload("b"), update("tasks.interval", 9, "c"), reload("d"))

    asyncio.run(all_at_once())
    assert all(after is before for (_, after), (before, _) in itertools.pairwise(chain))
    assert [after.manager.tasks.max_retries for _, after in chain] == [0, 1, 2, 3, 4, 4, 4, 4]
    assert scene.written == {"manager": {"tasks": {"max_retries": 4, "interval": 9}}}
    assert scene.live.current.manager.tasks.interval == 9


def test_the_event_loop_does_not_wait_for_the_disk(scene, monkeypatch):
    """An fsync may take seconds, and the supervisor has everybody's signs of life to look at."""
    scene = scene()
    written, wait = threading.Event(), []
    monkeypatch.setattr("supervisor.config.editor.os.fsync", lambda fd: wait.append(written.wait(10)))

    async def main():
        update = asyncio.create_task(scene.reconfiguration.update("tasks.max_retries", 7, "a"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not update.done()
        assert (await scene.reconfiguration.show())["tasks"]["max_retries"] == 3
        written.set()
        assert await update == {"tasks.max_retries": 7}

    asyncio.run(main())
    assert all(wait)


def test_after_a_failure_the_next_change_has_its_turn(scene, monkeypatch):
    """What one could not do is no lock that nobody opens."""
    scene = scene()

    async def main():
        with pytest.raises(ConfigurationError):
            await scene.reconfiguration.update("tasks.max_retries", -1, "a")
        scene.write({"manager": {"dotenv": None}})
        with monkeypatch.context() as patch:
            patch.setattr("supervisor.config.editor.read", _changing(scene))
            with pytest.raises(ConflictError, match="somebody else is changing it"):
                await scene.reconfiguration.update("tasks.max_retries", 7, "a")
        await scene.reconfiguration.update("tasks.max_retries", 8, "a")

    asyncio.run(main())
    assert scene.written == {"manager": {"dotenv": ".other", "tasks": {"max_retries": 8}}}


def _changing(scene):
    """Reads as config.source does, and writes the file behind the reader's back."""

    def read(path):
        text = path.read_text()
        scene.write({"manager": {"dotenv": ".other"}})
        return text

    return read
