"""The template of the base environment: one for all tasks that stand on it, and nothing of any of them in it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from plugin_runtime.protocol import ENV_DATA_DIR, ENV_RUNTIME
from supervisor.config.live import LiveConfiguration
from supervisor.config.source import load
from supervisor.environments.environment import Environment
from supervisor.tasks import base_template
from supervisor.tasks.base_template import BaseTemplate
from supervisor.tasks.ground import Ground
from supervisor.tasks.spec import TaskBuild
from tests.fakes.builds import INTERPRETER, build_of


class FakeTemplate:
    """Remembers what became of it."""

    def __init__(self, spec, preload, adopt_grace, services):
        self.spec = self.child = spec
        self.interpreter = spec.command[0]
        self.owners = []
        self.started = False
        self.retired = False

    def join(self, owner, modules):
        self.owners.append(owner)

    def start(self):
        self.started = True

    async def retire(self, cause, actor):
        self.retired = True


@pytest.fixture
def entered():
    return []


@pytest.fixture
def base(tmp_path, monkeypatch, entered):
    monkeypatch.setattr(base_template, "Template", FakeTemplate)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("DATA_URL", "postgresql://secret")
    (tmp_path / "config.json").write_text("{}")
    return BaseTemplate(
        LiveConfiguration(load(tmp_path / "config.json", {})),
        SimpleNamespace(enter=lambda member: entered.append(member.template)),
        None,
    )


def build(root, name="reports", environment="one", plugin=None, **variables):
    place = Environment(root / environment, environment, INTERPRETER)
    copy = SimpleNamespace(hash="abc", path=root / "copy.py")
    return TaskBuild(name, Path(f"{name}.py"), copy, Ground(place, root / "guest", variables, plugin), root)


def test_the_first_task_of_the_core_starts_it_and_the_next_ones_find_it(base, entered, tmp_path):
    """They have one environment, so one template will do."""
    base.provide(build(tmp_path))
    base.provide(build(tmp_path, "mail"))
    (template,) = entered
    assert (template.spec.id, template.spec.name, template.owners) == ("_base.template", "_base", ["_base"])
    assert template.started
    assert template.spec.command[-1] == "template"
    assert template.interpreter == str(tmp_path / "one" / "bin" / "python")


def test_a_plugins_task_has_the_plugins_template(base, entered, tmp_path):
    """It stands on another environment."""
    task = build(tmp_path, plugin=build_of(tmp_path))
    base.provide(task)
    assert entered == []
    assert task.ground.template == "hello"
    assert replace(task.ground, plugin=None).template == "_base"


def test_another_environment_has_another_one_which_takes_its_place(base, entered, tmp_path):
    """What the old one has forked goes on; nothing is forked from it any more."""

    async def scenario():
        base.provide(build(tmp_path))
        base.provide(build(tmp_path, environment="two"))
        await base._retiring.wait_done()

    asyncio.run(scenario())
    former, latter = entered
    assert latter.started
    assert (former.retired, latter.retired) == (True, False)


def test_nothing_of_a_task_can_be_read_in_what_others_are_forked_from(base, entered, tmp_path):
    """/proc shows every process the environment that its template began with."""
    base.provide(build(tmp_path, MAIL_PASSWORD="secret", **{ENV_DATA_DIR: "/data/reports"}))
    environment = entered[0].spec.environment
    assert not {"MAIL_PASSWORD", "DATA_URL", ENV_DATA_DIR} & environment.keys()
    assert environment["LANG"] == "C.UTF-8"
    assert environment[ENV_RUNTIME] == str(tmp_path / "guest")
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
