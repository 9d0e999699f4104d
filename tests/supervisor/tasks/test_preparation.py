"""From a task's file to what its processes are started with; inspectors are played."""

import asyncio
import json
from zoneinfo import ZoneInfo

import pytest

from plugin_runtime.protocol import Failed
from plugin_runtime.task_protocol import JobDeclaration, TaskDescription
from supervisor.config.live import LiveConfiguration
from supervisor.config.source import load
from supervisor.preparation.preparation import PreparationError
from supervisor.preparation.validation import Inspected
from supervisor.schedule.job_spec import JobKind
from supervisor.tasks.ground import Grounds
from supervisor.tasks.module_copy import ModuleCopies
from supervisor.tasks.preparation import TaskPreparation
from tests.fakes.task_scene import FakeInstaller, FakePlugins, FakeRuntime, module

EVERY_MINUTE = {"type": "interval", "seconds": 60.0, "timezone": ""}


class Inspector:
    """Answers with what is in ``answers``, one after the other; the last one again and again."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        """The settings of each inspection."""

    async def inspect(self, spec, settings, description, what):
        self.asked.append(settings)
        assert (spec.id, what) == (f"{settings.owner}.inspector", f"task {settings.owner!r}")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Failed):
            return Inspected(None, answer, ["last words"])
        return Inspected(answer, None, ["last words"])


class Scene:
    def __init__(self, root):
        self.root = root
        self.file = root / "report.py"
        (root / "plugins" / "shop").mkdir(parents=True)
        (root / "config.json").write_text(json.dumps({"tasks": {"report": {"env": {"MODE": "fast"}}}}))
        self.installer = FakeInstaller(root)
        self.plugins = FakePlugins(root)
        self.copies = ModuleCopies(root / "copies")
        self.inspector = Inspector(TaskDescription(title="Report", module_dir="core"))

    def prepare(self):
        live = LiveConfiguration(load(self.root / "config.json", {}))
        grounds = Grounds(live, self.installer, FakeRuntime(self.root), self.plugins)
        preparation = TaskPreparation(live, grounds, self.copies, self.inspector, ZoneInfo("Europe/Berlin"))
        return asyncio.run(preparation.prepare("report", self.file, lambda _: None))

    def error(self):
        with pytest.raises(PreparationError) as caught:
            self.prepare()
        return caught.value.error


@pytest.fixture
def at(tmp_path):
    scene = Scene(tmp_path)
    scene.file.write_text(module())
    return scene


def test_all_that_its_processes_need_is_put_together(at, monkeypatch):
    """A copy of the module, the base environment, variables of its own, a data folder."""
    monkeypatch.setenv("DATABASE_PASSWORD", "ours")
    prepared = at.prepare()
    build = prepared.build
    assert prepared.description.title == "Report"
    assert build.copy.path.read_text() == at.file.read_text()
    assert (build.module, build.working_directory, build.ground.plugin) == (at.file, at.root, None)
    assert build.ground.variables["MODE"] == "fast"
    assert "DATABASE_PASSWORD" not in build.ground.variables
    assert build.ground.variables["XCORE_DATA_DIR"] == str(at.root / ".xcore" / "data" / "report")
    assert (at.root / ".xcore" / "data" / "report").is_dir()


def test_it_is_described_every_time(at):
    """Metadata may be computed: the same file may say something else."""
    at.inspector = Inspector(TaskDescription(title="Monday"), TaskDescription(title="Tuesday"))
    assert [at.prepare().description.title for _ in range(2)] == ["Monday", "Tuesday"]


@pytest.mark.parametrize("module_dir", ["plugins/shop", "./plugins/shop", "plugins/shop/tasks"])
def test_a_plugin_that_is_written_down_is_tried_first(at, module_dir):
    """A module that imports the plugin's packages cannot be imported anywhere else."""
    at.file.write_text(module(moduleDir=module_dir))
    at.inspector = Inspector(TaskDescription(module_dir=module_dir))
    prepared = at.prepare()
    (settings,) = at.inspector.asked
    assert (settings.plugin, settings.plugin_folder) == ("shop", str(at.root / "plugins" / "shop"))
    assert (settings.plugin_contract, settings.plugin_source) == (
        "seed",
        str(at.root / "generations" / "shop" / "source"),
    )
    assert prepared.build.ground.owner == "shop"
    assert prepared.build.ground.variables["XCORE_DATA_DIR"] == "data/shop"
    assert prepared.build.ground.variables["MODE"] == "fast"


def test_a_plugin_that_only_the_module_knows_is_the_second_try(at):
    """Described once in the base environment, and once more in the plugin's, whose word counts."""
    at.file.write_text("metadata = made_elsewhere()")
    at.inspector = Inspector(
        TaskDescription(title="first", module_dir="plugins/shop"),
        TaskDescription(title="second", module_dir="plugins/shop"),
    )
    prepared = at.prepare()
    assert [settings.plugin for settings in at.inspector.asked] == ["", "shop"]
    assert (prepared.description.title, prepared.build.ground.owner) == ("second", "shop")


def test_a_module_that_cannot_make_up_its_mind_is_an_error(at):
    """Not an endless search."""
    at.file.write_text("metadata = made_elsewhere()")
    at.inspector = Inspector(TaskDescription(module_dir="plugins/shop"), TaskDescription(module_dir="core"))
    error = at.error()
    assert (error.phase, error.type) == ("manifest", "TaskInvalid")
    assert error.message == "report.py: moduleDir differs from one import to the next: 'core'"


@pytest.mark.parametrize(
    ("module_dir", "problem"),
    [
        ("plugins/nowhere", "there is no such folder in "),
        ("plugins/.git", "its name starts with '.'"),
        ("plugins/gateway", "the name 'gateway' is reserved"),
    ],
)
def test_a_plugin_that_is_not_to_be_had_is_named(at, module_dir, problem):
    """With what to do."""
    at.file.write_text(module(moduleDir=module_dir))
    error = at.error()
    plugin = module_dir.removeprefix("plugins/")
    assert error.message.startswith(f"task 'report' belongs to plugin {plugin!r} by its moduleDir: {problem}")
    assert (error.phase, error.hint) == ("manifest", "add the plugin, or correct moduleDir in the metadata")
    assert at.inspector.asked == []


def test_all_that_is_wrong_with_a_module_is_told_at_once(at):
    """With the last lines that its process printed."""
    errors = [
        Failed("manifest", "MetadataInvalid", "no version", "write it", location="report.py"),
        Failed("manifest", "MetadataInvalid", "no author", "write that, too"),
    ]
    at.inspector = Inspector(TaskDescription(errors=errors))
    error = at.error()
    assert (error.message, error.hint) == ("no version; no author", "write it; write that, too")
    assert (error.type, error.location, error.log_tail) == ("MetadataInvalid", "report.py", ["last words"])


def test_an_inspector_that_dies_is_an_error(at):
    """The module ended its process."""
    at.inspector = Inspector(Failed("import", "ValidatorDied", "importing task 'report' ended its process"))
    error = at.error()
    assert (error.phase, error.log_tail) == ("import", ["last words"])


def test_jobs_are_those_that_it_declares(at):
    """By the machine's clock where they name no other."""
    at.inspector = Inspector(
        TaskDescription(
            jobs=[
                JobDeclaration("a", "work", EVERY_MINUTE, timeout=5.0),
                JobDeclaration("b", "work", {"type": "cron", "cron_params": "0 3 * * *", "timezone": ""}),
            ]
        )
    )
    first, second = at.prepare().jobs
    assert (first.id, first.kind, first.timeout) == ("report.a", JobKind.TASK, 5.0)
    assert second.trigger.local(0.0).endswith("+01:00")


def test_all_jobs_that_are_wrong_are_told_at_once(at):
    """With their keys."""
    at.inspector = Inspector(
        TaskDescription(
            jobs=[
                JobDeclaration("a", "work", {"type": "cron", "cron_params": {"hour": "25"}, "timezone": ""}),
                JobDeclaration("b", "work", EVERY_MINUTE),
                JobDeclaration("c", "work", EVERY_MINUTE, overlap="kill_old", shared=True),
            ]
        )
    )
    error = at.error()
    assert (error.phase, error.type) == ("manifest", "JobInvalid")
    assert "task 'report': job 'a': cron_params.hour: " in error.message
    assert "; task 'report': job 'c': overlap: " in error.message
    assert "job 'b'" not in error.message


def test_what_the_inspector_refused_hides_no_job_that_is_wrong(at):
    """Its author mends both in one go; each problem has its hint beside it."""
    at.inspector = Inspector(
        TaskDescription(
            errors=[Failed("manifest", "MetadataInvalid", "no version", "write it")],
            jobs=[JobDeclaration("a", "work", {"type": "cron", "cron_params": {"hours": 3}, "timezone": ""})],
        )
    )
    error = at.error()
    assert error.type == "MetadataInvalid"
    assert error.problems[0] == "no version; write it"
    assert error.problems[1].startswith("task 'report': job 'a': cron_params.hours: ")
    assert error.problems[1].endswith("; did you mean 'hour'?")


def test_a_file_that_cannot_be_read_says_why(at):
    """A dangling link, one that vanished, one that is no text."""
    at.file.unlink()
    assert at.error().message == f"{at.file}: is not there any more"
    at.file.symlink_to("nowhere")
    assert at.error().message == f"{at.file}: is a link to a file that is not there"
    at.file.unlink()
    at.file.write_bytes(b"\xff")
    assert at.error().message == f"{at.file}: is not UTF-8 (line 1)"


def test_the_operating_systems_no_is_an_error_of_the_task(at):
    """Here: its data folder cannot be made, since a file is in the way."""
    (at.root / ".xcore").mkdir()
    (at.root / ".xcore" / "data").touch()
    error = at.error()
    assert (error.phase, error.type) == ("environment", "NotADirectoryError")
