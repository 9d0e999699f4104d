"""The steps of a plugin's preparation: each fails with its phase, and none is done twice for the same content."""

import asyncio
import errno
import json
import os
import threading

import pytest

from plugin_runtime.protocol import Description, Failed
from supervisor.config.live import LiveConfiguration
from supervisor.config.source import load
from supervisor.environments.runtime import GuestPackages
from supervisor.errors import EnvironmentBuildError
from supervisor.preparation.generations import Generations
from supervisor.preparation.preparation import Preparation, PreparationError
from supervisor.preparation.validation import Finding
from tests.fakes.builds import INTERPRETER, ThisEnvironment
from tests.fakes.waiting import DEADLINE, settle, until


class Steps:
    """Installer, runtime and validator in one."""

    def __init__(self, root):
        self.root = root
        self.error = None
        self.finding = Finding(Description(title="Hello"))
        self.validated = []

    async def ensure(self, *arguments):
        if self.error:
            raise self.error
        if arguments[0] is INTERPRETER:
            return GuestPackages(self.root, optional=True)
        return ThisEnvironment(self.root, "fingerprint", INTERPRETER)

    async def validate(self, build):
        self.validated.append(build)
        return self.finding


class Scene:
    def __init__(self, root):
        self.root = root
        self.folder = root / "plugins" / "hello"
        self.folder.mkdir(parents=True)
        (self.folder / "run.py").write_text("x = 1")
        (root / "config.json").write_text(json.dumps({"plugins": {"hello": {"max_in_flight": 9}}}))
        self.steps = Steps(root)

    def preparation(self):
        live = LiveConfiguration(load(self.root / "config.json", {}))
        return Preparation(live, self.steps, self.steps, Generations(self.root / "generations"), self.steps)

    def prepare(self):
        async def main():
            return await prepared_by(self.preparation(), self.folder)

        return asyncio.run(main())

    def error(self):
        with pytest.raises(PreparationError) as caught:
            self.prepare()
        return caught.value.error


async def prepared_by(preparation, folder):
    manifest = await preparation.read_manifest("hello", folder)
    return await preparation.examine(await preparation.assemble(manifest, folder, lambda _: None))


@pytest.fixture
def at(tmp_path):
    return Scene(tmp_path)


def test_all_that_a_worker_needs_is_put_together(at, monkeypatch):
    """Manifest with the overrides of config.json, a copy of the code, an environment of variables of its own."""
    monkeypatch.setenv("DATABASE_PASSWORD", "ours")
    (at.folder / ".env").write_text("\ufeffMODE=fast\nEMPTY\nQUOTED='a b'\n", encoding="utf-8")
    prepared = at.prepare()
    build = prepared.build
    assert prepared.description.title == "Hello"
    assert build.manifest.max_in_flight == 9
    assert (build.generation.source / "run.py").read_text() == "x = 1"
    assert (build.variables["MODE"], build.variables["QUOTED"]) == ("fast", "a b")
    assert not {"DATABASE_PASSWORD", "EMPTY"} & build.variables.keys()
    assert build.variables["XCORE_DATA_DIR"] == str(at.root / ".xcore" / "data" / "hello")
    assert (at.root / ".xcore" / "data" / "hello").is_dir()


def test_closed_it_has_written_all_and_has_no_thread(at):
    """A thread that is there when the supervisor executes itself anew may take a signal, which then ends xcore."""

    async def main():
        preparation = at.preparation()
        prepared = await prepared_by(preparation, at.folder)
        preparation.learn(prepared, ["json"])
        await preparation.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("generations")]

    asyncio.run(main())
    assert "json" in at.prepare().description.modules


def test_a_folder_that_is_not_there_is_said_to_be_missing(at):
    """Not its run.py."""
    at.folder.rename(at.root / "aside")
    error = at.error()
    assert (error.phase, error.message) == ("manifest", f"plugin 'hello': {at.folder}: there is no such folder")


@pytest.mark.parametrize("place", ["manifest", "runtime"])
def test_want_of_descriptors_is_nobodys_fault_who_wrote_a_plugin(at, monkeypatch, place):
    """Of a type that is tried again, wherever they are wanting."""

    error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def opened(path, *arguments, original=os.open, **keys):
        if str(path).endswith("pyproject.toml"):
            raise error
        return original(path, *arguments, **keys)

    (at.folder / "pyproject.toml").touch()
    if place == "manifest":
        monkeypatch.setattr("supervisor.config.regular_file.os.open", opened)
    else:
        at.steps.error = error
    shown = at.error()
    assert (shown.type, shown.hint) == ("OutOfResources", "it may pass by itself")
    assert shown.message.endswith(": Too many open files")


def test_another_env_file_is_another_generation_though_git_ignores_it(at):
    """The order to reload would else find nothing new."""
    (at.folder / ".gitignore").write_text("*.env\n")
    (at.folder / "pyproject.toml").write_text('[tool.xcore]\nenv_file = "prod.env"\n')
    (at.folder / "prod.env").write_text("MODE=slow\n")
    before = at.prepare().build
    (at.folder / "prod.env").write_text("MODE=fast\n")
    after = at.prepare().build
    assert (before.variables["MODE"], after.variables["MODE"]) == ("slow", "fast")
    assert before.generation.hash != after.generation.hash


def test_a_line_of_the_dotenv_file_that_is_left_out_is_noted(at):
    """Its author would look for the mistake everywhere else."""
    (at.folder / ".env").write_text("A=1\nEMPTY\n= 5\n")
    problem = "it is left out; write NAME=value, or # for a comment"
    assert at.prepare().build.notes == [f"cannot read .env, line {number}: {problem}" for number in (2, 3)]


def test_a_key_that_is_followed_live_makes_no_other_generation(at):
    """No process is started with it: whoever uses it asks the configuration in force."""
    before = at.prepare().build
    settings = {"plugins": {"hello": {"max_in_flight": 9, "idle_stop": 5}}}
    (at.root / "config.json").write_text(json.dumps(settings))
    after = at.prepare().build
    assert (after.generation.hash, after.manifest.idle_stop) == (before.generation.hash, 0)


def test_content_that_was_found_good_is_not_imported_again(at):
    """A start of an unchanged system runs no validator; a change does."""
    first = at.prepare()
    second = at.prepare()
    assert (len(at.steps.validated), second.description) == (1, first.description)
    assert second.build.generation.hash == first.build.generation.hash
    (at.folder / "run.py").write_text("x = 2")
    third = at.prepare()
    assert len(at.steps.validated) == 2
    assert third.build.generation.hash != first.build.generation.hash


def test_content_that_was_found_bad_is_looked_at_again(at):
    """What was missing may be there now."""
    errors = [
        Failed("import", "ImportError", "no flask", "add it", "Traceback", "run.py:1"),
        Failed("import", "E", "no x"),
    ]
    at.steps.finding = Finding(Description(errors=errors), ["last line"])
    error = at.error()
    assert (error.phase, error.type, error.message, error.hint) == ("import", "ImportError", "no flask; no x", "add it")
    assert error.problems == ["no flask; add it", "no x"]
    assert (error.location, error.traceback, error.log_tail) == ("run.py:1", "Traceback", ["last line"])
    at.steps.finding = Finding(Description(title="Healed"))
    assert at.prepare().description.title == "Healed"


def test_a_failed_installer_shows_its_last_lines(at):
    """Row 47."""
    at.steps.error = EnvironmentBuildError("hello", "no such package", log_tail=["a", "b"], hint="check its name")
    error = at.error()
    assert (error.phase, error.type, error.hint, error.log_tail) == (
        "environment",
        "EnvironmentBuild",
        "check its name",
        ["a", "b"],
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[tool.xcore", "not valid TOML"),
        (b"name = '\xff'", "pyproject.toml: is not UTF-8 (line 1)"),
        (b"[tool.xcore]\nprefx = '/x'", "prefx"),
        (b"#" * (1024 * 1024 + 1), "pyproject.toml: is larger than 1048576 bytes"),
    ],
    ids=["syntax", "encoding", "unknown key", "huge"],
)
def test_a_manifest_that_is_none_fails_in_its_phase(at, content, problem):
    """With the place; nothing is installed for it."""
    (at.folder / "pyproject.toml").write_bytes(content)
    at.steps.error = AssertionError("nothing is to be installed")
    error = at.error()
    assert (error.phase, error.type) == ("manifest", "PluginInvalid")
    assert problem in error.message


@pytest.mark.parametrize("name", ["pyproject.toml", ".env"])
def test_a_fifo_in_the_place_of_a_file_does_not_hold_up_the_start(at, name):
    """Row 43: it would wait for a writer for ever."""
    os.mkfifo(at.folder / name)
    error = at.error()
    assert error.message.endswith(f"{name}: is a FIFO, not a regular file")


def test_the_operating_systems_no_is_an_error_of_the_plugin(at):
    """Here: its data folder cannot be made, since a file is in the way."""
    (at.root / ".xcore").mkdir()
    (at.root / ".xcore" / "data").touch()
    error = at.error()
    assert (error.phase, error.type) == ("environment", "NotADirectoryError")
    assert error.message.endswith("/data/hello: Not a directory")


def test_a_build_for_other_processes_is_made_without_validating(at):
    """A task of the plugin needs its environment and its code, not that it can be served."""

    async def main():
        return await at.preparation().build("hello", at.folder, lambda _: None)

    build = asyncio.run(main())
    assert (build.name, build.generation.hash) == ("hello", at.prepare().build.generation.hash)
    assert build.variables["XCORE_DATA_DIR"].endswith("/data/hello")
    assert len(at.steps.validated) == 1  # that of ``prepare``
    (at.folder / "pyproject.toml").write_text("[tool.xcore")
    with pytest.raises(PreparationError, match="not valid TOML"):
        asyncio.run(main())


def test_a_name_with_a_dot_gives_a_task_its_environment_though_it_cannot_be_served(at):
    """A folder without a run.py is no plugin, and may be called as its author likes."""

    async def main():
        preparation = at.preparation()
        build = await preparation.build("data.tools", at.folder, lambda _: None)
        assert build.environment.fingerprint == "fingerprint"
        with pytest.raises(PreparationError, match=r"'data\.tools' has a dot"):
            await preparation.read_manifest("data.tools", at.folder)

    asyncio.run(main())


def test_a_plugin_is_built_by_one_at_a_time(at):
    """Its tasks may want it while it is brought up; two plugins do not wait for each other."""
    building, most = [], []
    other_is_built = asyncio.Event()
    ensure = at.steps.ensure

    async def watched(*arguments):
        if arguments[0] is INTERPRETER:
            return await ensure(*arguments)
        building.append(arguments[0])
        most.append(building.count("hello"))
        if arguments[0] == "other":
            other_is_built.set()
        await asyncio.wait_for(other_is_built.wait(), DEADLINE)
        await settle()
        building.remove(arguments[0])
        return await ensure(*arguments)

    at.steps.ensure = watched
    (at.root / "plugins" / "other").mkdir()

    async def main():
        preparation = at.preparation()
        works = [preparation.build("hello", at.folder, lambda _: None) for _ in range(3)]
        works.append(preparation.build("other", at.root / "plugins" / "other", lambda _: None))
        first, second, third, _ = await asyncio.gather(*works)
        assert first == second == third

    asyncio.run(main())
    assert max(most) == 1


@pytest.mark.parametrize("whose", ["plugin", "task"])
def test_what_was_built_while_a_removal_waited_is_not_removed(at, whose):
    """A rollback in the minutes of an installation asks for one; nobody can name the copy before it is made."""
    installing, installed, expected = asyncio.Event(), asyncio.Event(), set()
    ensure = at.steps.ensure

    async def slow(*arguments):
        installing.set()
        await installed.wait()
        return await ensure(*arguments)

    at.steps.ensure = slow

    async def build(preparation):
        if whose == "task":
            return await preparation.build("hello", at.folder, lambda _: None)
        manifest = await preparation.read_manifest("hello", at.folder)
        made = await preparation.assemble(manifest, at.folder, lambda _: None)
        expected.add(made.generation.hash)
        return made

    async def main():
        preparation = at.preparation()
        building = asyncio.create_task(build(preparation))
        await installing.wait()
        removing = asyncio.create_task(preparation.prune("hello", expected.copy))
        await settle()
        installed.set()
        made, _ = await asyncio.gather(building, removing)
        assert (made.generation.source / "run.py").is_file()
        await preparation.close()

    asyncio.run(main())


def test_what_is_learned_is_written_in_order(at, monkeypatch):
    """By one at a time: an earlier list that took longer must not be what the next supervisor reads."""
    begun, written, gate = [], [], threading.Event()
    keep = Generations.keep_description

    def slow(self, generation, description):
        begun.append(description)
        if len(begun) == 1:
            gate.wait(DEADLINE)
        keep(self, generation, description)
        written.append(description.modules)

    async def main():
        preparation = at.preparation()
        prepared = await prepared_by(preparation, at.folder)
        monkeypatch.setattr(Generations, "keep_description", slow)
        once = preparation.learn(prepared, ["a"])
        twice = preparation.learn(once, ["b"])
        await until(lambda: begun, "the first is being written")
        await settle()
        assert len(begun) == 1
        gate.set()
        await until(lambda: len(written) == 2, "both are written")
        assert twice.description.modules == ["a", "b"]
        assert Generations(at.root / "generations").description(prepared.build.generation) == twice.description

    asyncio.run(main())
