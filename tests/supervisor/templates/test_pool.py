"""Which plugins share a template. No processes: what becomes of templates is written down."""

import asyncio
import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest

from plugin_runtime.protocol import ENV_DATA_DIR, Cause, Description, Kind
from supervisor.clock import SystemClock
from supervisor.config.settings import SupervisorSettings
from supervisor.environments.environment import Environment
from supervisor.preparation.preparation import Prepared
from supervisor.preparation.worker_spec import worker_spec
from supervisor.supervision.origin import Birth
from supervisor.supervision.tree import Tree
from supervisor.supervision.trust import BirthOutcome
from supervisor.templates import pool as template_pool
from supervisor.templates import template
from supervisor.templates.births import Births
from supervisor.templates.pool import TemplatePool
from supervisor.templates.template import Template, TemplateServices
from tests.fakes.builds import INTERPRETER, build_of

FASTAPI = ("json", "fastapi", "fastapi.routing", "starlette")


class FakeTemplate(Template):
    """Is never started, though it says so."""

    all: ClassVar[list["FakeTemplate"]] = []

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.posted = []
        self.child.post = self.posted.append
        self.retired = ""
        self.all.append(self)

    def start(self):
        self.posted.append("start")

    async def retire(self, cause, actor):
        self.retired = cause.value


class PoolScene:
    """Plugins by name, and what is provided for them."""

    def __init__(self, root):
        self.root = root
        around = SimpleNamespace(clock=SystemClock(), origin=None, control=None, survivors=None, records=None)
        self.births = Births(None, None, None, limit=1)
        self.pool = TemplatePool(self.births, TemplateServices(around, Tree(around.clock), None), SupervisorSettings())
        self.learned = {}
        self.members = {}

    def prepared(self, name, *modules, environment="_base", **keys):
        """A plugin on this environment, whose processes import ``modules``; ``keys``: of its manifest."""
        build = build_of(self.root, name, **{"template": True, **keys})
        place = Environment(self.root / "envs" / environment / "abc", "abc", INTERPRETER)
        variables = {**build.variables, **build.manifest.env, ENV_DATA_DIR: f"/data/{name}"}
        return Prepared(replace(build, environment=place, variables=variables), Description(modules=list(modules)))

    def provide(self, name, *modules, **keys):
        """Return the template that it gets; None without one."""
        self.last = self.prepared(name, *modules, **keys)
        member = self.pool.provide(self.last, self.learned.setdefault(name, []).extend)
        self.members[name] = member
        return member.template if member and member.is_forked else None

    def spec(self, name):
        """Of a worker of the one that was provided for last, or of the like with another name."""
        return replace(worker_spec(self.last.build, 1, None, None), id=f"{name}.1", name=name, template=name)

    def learn(self, name, *modules):
        self.births.learn(self.spec(name), modules)

    async def retirements(self):
        await self.pool._retirements.wait_done()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(template_pool, "Template", FakeTemplate)
    monkeypatch.setattr(FakeTemplate, "all", [])

    def run(scenario):
        async def main():
            await scenario(PoolScene(tmp_path))

        asyncio.run(main())

    return run


def test_ten_that_are_alike_have_one_template(run):
    """One import instead of ten. It has a name of its own, and knows nothing of any of them."""

    async def scenario(at):
        found = {at.provide(f"plugin{number}", *FASTAPI) for number in range(10)}
        (shared,) = found
        assert (shared.child.spec.id, shared.child.spec.name) == ("_plugins.1.template", "_plugins")
        assert shared.child.spec.kind is Kind.TEMPLATE
        assert shared.posted == ["start"]
        assert shared.settings_for(shared.child, "")["modules"] == list(FASTAPI)
        assert ENV_DATA_DIR not in shared.child.spec.environment
        assert FakeTemplate.all == [shared]

    run(scenario)


@pytest.mark.parametrize(
    ("modules", "keys"),
    [
        ((*FASTAPI, "sqlalchemy"), {}),
        (FASTAPI[:2], {}),
        (FASTAPI, {"preload": ["decimal"]}),
        (FASTAPI, {"env": {"HF_HOME": "/models"}}),
        (FASTAPI, {"app": "main:app"}),
        (FASTAPI, {"start_timeout": 300}),
        (FASTAPI, {"environment": "other"}),
    ],
    ids=["one-package-more", "one-package-less", "preload", "variables", "folder", "time-limit", "environment"],
)
def test_whoever_is_different_has_another_template(run, modules, keys):
    """What one plugin alone imports, or an import might find elsewhere, is never in another's processes."""

    async def scenario(at):
        one, other = at.provide("one", *FASTAPI), at.provide("other", *modules, **keys)
        assert one is not other
        assert one.child.spec.id == "_plugins.1.template"
        assert other.child.spec.id in {"_plugins.2.template", "other.template"}

    run(scenario)


def test_one_with_an_environment_of_its_own_has_a_template_of_its_own_name(run):
    """Nobody can share it."""

    async def scenario(at):
        assert at.provide("shop", *FASTAPI, environment="shop").child.spec.id == "shop.template"
        assert at.provide("till", *FASTAPI, environment="till").child.spec.id == "till.template"

    run(scenario)


def test_modules_of_python_are_no_difference_and_are_imported_for_all(run, monkeypatch):
    """Whoever comes later brings them along; a template that runs already is renewed once."""
    monkeypatch.setattr(template, "QUIET", 0.0)
    monkeypatch.setattr(FakeTemplate, "is_ready", True)

    async def scenario(at):
        shared = at.provide("one", *FASTAPI)
        shared.settings_for(shared.child, "")
        assert at.provide("two", *FASTAPI, "sqlite3") is shared
        assert at.provide("three", *FASTAPI, "sqlite3", "fastapi.responses") is shared
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [type(event).__name__ for event in shared.posted[1:]] == ["RestartRequested"]
        assert shared.settings_for(shared.child, "")["modules"] == [*FASTAPI, "sqlite3", "fastapi.responses"]
        assert at.learned == {"one": [], "two": [], "three": []}

    run(scenario)


def test_a_package_that_a_sole_plugin_imports_later_is_imported_by_its_template(run):
    """As it is written down for it; from then on it is alike with others that have it."""

    async def scenario(at):
        sole = at.provide("one", *FASTAPI)
        at.learn("one", "sqlalchemy")
        assert (at.learned["one"], sole.packages) == (["sqlalchemy"], {"fastapi", "starlette", "sqlalchemy"})
        assert at.provide("two", *FASTAPI) is not sole
        assert at.provide("three", *FASTAPI, "sqlalchemy") is sole

    run(scenario)


def test_a_package_that_one_of_many_imports_later_never_gets_to_the_others(run):
    """It is written down, once, and its plugin belongs elsewhere when it is brought up again."""

    async def scenario(at):
        shared = at.provide("one", *FASTAPI)
        at.provide("two", *FASTAPI)
        for _ in range(2):
            at.learn("two", "sqlalchemy", "fastapi.responses", "csv")
        assert at.learned == {"one": [], "two": ["sqlalchemy", "fastapi.responses", "csv"]}
        modules = shared.settings_for(shared.child, "")["modules"]
        assert modules == [*FASTAPI, "fastapi.responses", "csv"]
        other = at.provide("two", *FASTAPI, *at.learned["two"])
        assert other is not shared
        assert (shared.owners, other.owners) == (["one"], ["two"])

    run(scenario)


def test_what_another_has_learned_is_still_written_down_for_the_next(run):
    """Its process was forked before the template knew; next time it may have another template."""

    async def scenario(at):
        at.provide("one", *FASTAPI)
        at.provide("two", *FASTAPI)
        at.learn("one", "csv")
        at.learn("two", "csv")
        assert at.learned == {"one": ["csv"], "two": ["csv"]}

    run(scenario)


def test_a_template_is_retired_with_its_last_member(run):
    """Its name stays what it is while they come and go; the next one may have it again."""

    async def scenario(at):
        shared = at.provide("one", *FASTAPI)
        at.provide("two", *FASTAPI)
        await at.pool.leave("one", Cause.DISABLED, "operator")
        assert (shared.retired, shared.child.spec.id) == ("", "_plugins.1.template")
        assert at.provide("three", *FASTAPI) is shared
        await at.pool.leave("two", Cause.DISABLED, "operator")
        await at.pool.leave("three", Cause.DISABLED, "operator")
        await at.pool.leave("three", Cause.DISABLED, "operator")
        assert shared.retired == "disabled"
        assert at.provide("one", *FASTAPI) is not shared
        assert FakeTemplate.all[-1].child.spec.id == "_plugins.1.template"

    run(scenario)


def test_another_generation_keeps_the_template_that_is_right_for_it(run):
    """Also where it was seen to import less than the old one did in the end: that shows only while it serves."""

    async def scenario(at):
        own = at.provide("one", *FASTAPI)
        at.learn("one", "multipart")
        assert at.provide("one", *FASTAPI, "csv") is own
        assert own.owners == ["one"]
        assert own.posted == ["start"]
        at.learn("one", "csv", "decimal")
        assert at.learned["one"] == ["multipart", "decimal"]

    run(scenario)


def test_another_generation_that_imports_something_new_changes_over(run):
    """The new template is entered before the old one is left; that is retired in the background, if nobody needs it."""

    async def scenario(at):
        at.provide("two", *FASTAPI)
        shared = at.provide("one", *FASTAPI)
        other = at.provide("one", *FASTAPI, "sqlalchemy")
        assert (shared.owners, other.owners, other.child.spec.id) == (["two"], ["one"], "_plugins.2.template")
        assert at.provide("one", *FASTAPI) is other
        at.provide("one", *FASTAPI, "numpy")
        await at.retirements()
        assert (shared.retired, other.retired) == ("", "reload")

    run(scenario)


def test_a_rebuilt_environment_has_a_new_template_of_the_same_name(run):
    """Two of the name at once: one starts, the other ends."""

    async def scenario(at):
        former = at.provide("shop", *FASTAPI, environment="shop")
        latter = at.provide("shop", *FASTAPI, environment="shop", env={"A": "b"})
        await at.retirements()
        assert (former.retired, latter.retired) == ("reload", "")
        assert former.child.spec.id == latter.child.spec.id == "shop.template"

    run(scenario)


def test_one_that_wants_no_template_any_more_leaves_it(run):
    """The others stay."""

    async def scenario(at):
        shared = at.provide("one", *FASTAPI)
        at.provide("two", *FASTAPI)
        assert at.provide("one", *FASTAPI, template=False) is None
        assert shared.owners == ["two"]
        assert at.provide("two", *FASTAPI, template=False) is None
        await at.retirements()
        assert shared.retired == "reload"

    run(scenario)


def test_one_whose_processes_die_of_forking_leaves_and_the_others_stay(run):
    """That is trusted or not for each plugin in each environment."""

    async def scenario(at):
        shared = at.provide("one", *FASTAPI)
        at.provide("two", *FASTAPI)
        distrust(at, "one")
        assert (shared.owners, shared.posted) == (["two"], ["start"])
        assert at.provide("one", *FASTAPI) is None
        assert "one.1 dies before it is ready" in at.members["one"].notes[0]
        assert at.members["two"].notes == []
        await at.pool.leave("two", Cause.DISABLED, "operator")
        assert [type(event).__name__ for event in shared.posted[1:]] == ["StopRequested"]
        assert at.provide("three", *FASTAPI) is not shared
        await at.pool.leave("one", Cause.DISABLED, "operator")
        assert shared.retired == "disabled"

    run(scenario)


def test_one_that_is_not_trusted_starts_no_template_in_the_same_environment(run):
    """Said in its notes; another environment is another case."""

    async def scenario(at):
        at.provide("one", *FASTAPI)
        distrust(at, "one")
        await at.pool.leave("one", Cause.OPERATOR, "operator")
        assert at.provide("one", *FASTAPI) is None
        assert at.members["one"].notes == ["nothing is forked: its processes have died of it in this environment"]
        assert at.provide("one", *FASTAPI, environment="one") is not None

    run(scenario)


def distrust(at, name):
    """A process of it dies when it is forked, and lives when it is executed."""
    birth = Birth(at.spec(name), "", "", None, None)
    at.births._forked.add(birth)
    at.births.conclude(birth, BirthOutcome.FAULT)
    at.births.conclude(birth, BirthOutcome.READY)


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_one_that_patches_others_has_none(run, library, caplog):
    """These libraries want to be imported first."""
    caplog.set_level(logging.INFO)

    async def scenario(at):
        assert at.provide("one", library) is None
        assert at.members["one"].notes == [f"nothing is forked: its processes import {library}"]
        assert FakeTemplate.all[0].posted == []

    run(scenario)
    assert f"one: nothing is forked: its processes import {library}" in caplog.text


def test_one_of_many_that_turns_out_to_patch_is_forked_no_more(run):
    """The others are, and the library never gets into their processes."""

    async def scenario(at):
        shared = at.provide("one", *FASTAPI)
        at.provide("two", *FASTAPI)
        at.learn("two", "gevent.monkey")
        assert [at.members[name].suits(at.spec(name)) for name in ("one", "two")] == [True, False]
        assert at.learned["two"] == ["gevent.monkey"]
        assert "gevent" not in shared.packages
        assert at.provide("two", *FASTAPI, *at.learned["two"]) is None
        assert shared.owners == ["one"]
        assert at.provide("two", *FASTAPI) is shared

    run(scenario)


def test_what_does_not_work_in_a_shared_template_is_noted_at_each_member(run):
    """Its authors look there."""

    async def scenario(at):
        shared = at.provide("one", *FASTAPI, preload=["pandsa"])
        at.provide("two", *FASTAPI, preload=["pandsa"])
        why = shared._why_not_preloaded("pandsa", "ModuleNotFoundError")
        shared.note("pandsa", why)
        assert "which the key preload of plugin 'one' and 'two' names" in why
        assert at.members["one"].notes == at.members["two"].notes == [why]

    run(scenario)
