"""A plugin's way through the steps before its start: everything wrong is told, as far as one can see."""

import asyncio
from dataclasses import replace

import pytest

from plugin_runtime.protocol import Description, Failed
from plugin_runtime.task_protocol import TaskDescription
from supervisor.config.live import LiveConfiguration
from supervisor.config.source import load
from supervisor.environments.builder import Plan
from supervisor.environments.project import parse
from supervisor.environments.runtime import GuestPackages
from supervisor.errors import EnvironmentBuildError
from supervisor.preparation.generations import Generations
from supervisor.preparation.preparation import Preparation
from supervisor.preparation.validation import Finding, Inspected
from supervisor.preparation.workshop import Workshop
from supervisor.rehearsal import Candidate, Rehearsal
from tests.fakes.builds import INTERPRETER, ThisEnvironment

JOB = '[[tool.xcore.jobs]]\nname = "{}"\nentry = "work:{}"\ncron = "{} 3 * * *"\n'


class Steps:
    """Installer, runtime and validator in one."""

    def __init__(self, root):
        self.root = root
        self.plan_errors, self.build_error = [], None
        self.finding = Finding(Description(api_prefix="/app/said"))
        self.inspected = {}
        self.taken = []

    async def problems(self, name, folder):
        self.taken.append("plan")
        return self.plan_errors

    async def plan(self, name, folder):
        return Plan(name, self.root, parse(name, ""), INTERPRETER)

    async def ensure(self, *arguments):
        if arguments[0] is INTERPRETER:
            return GuestPackages(self.root, optional=True)
        self.taken.append("build")
        if self.build_error:
            raise self.build_error
        return ThisEnvironment(self.root, "fingerprint", INTERPRETER)

    async def validate(self, build):
        self.taken.append("validate")
        return self.finding

    async def inspect(self, spec, settings, description, what):
        self.taken.append(settings.entry)
        return self.inspected.get(settings.entry, Inspected(TaskDescription(), None, []))


class Scene:
    """A plugin named ``shop``, and what becomes of it."""

    def __init__(self, root):
        self.root = root
        self.steps = Steps(root)
        self.folder = root / "shop"
        self.folder.mkdir()
        (root / "config.json").write_text('{"plugins": {"shop": {"max_age": 5}}}')
        self.candidate = Candidate("shop", self.folder, {})

    def verdict(self, manifest=None, *, install=True, **candidate):
        if manifest is not None:
            (self.folder / "pyproject.toml").write_text(manifest)
        configuration = load(self.root / "config.json", {})
        steps = self.steps
        preparation = Preparation(
            LiveConfiguration(configuration), steps, steps, Generations(self.root / "generations"), steps
        )
        workshop = Workshop(None, steps, steps, None, steps, preparation, None)

        async def main():
            rehearsal = Rehearsal(replace(self.candidate, **candidate), configuration, workshop, lambda _: None)
            await rehearsal.read()
            await rehearsal.run(install=install)
            return rehearsal.verdict

        return asyncio.run(main())


@pytest.fixture
def at(tmp_path):
    return Scene(tmp_path)


def problems(verdict):
    return [(problem.phase, problem.type) for problem in verdict.problems]


def test_a_plugin_that_would_be_served_has_no_problems(at):
    """All steps are taken, in order; it says itself what it claims."""
    verdict = at.verdict(JOB.format("clean", "clean", 5))
    assert (verdict.problems, verdict.skipped) == ([], [])
    assert (verdict.contract, verdict.prefix, verdict.python) == ("seed", "/app/said", str(INTERPRETER))
    assert at.steps.taken == ["plan", "build", "validate", "work:clean"]


def test_all_that_can_be_seen_without_building_is_told_at_once(at):
    """Name, keys and dependencies do not depend on each other; what cannot be built is not built."""
    at.steps.plan_errors = [
        EnvironmentBuildError("shop", "path dependency 'mine'"),
        EnvironmentBuildError("shop", "no Python fits", hint="install one"),
    ]
    verdict = at.verdict("[tool.xcore]\nap = 1\ninstances = 0\n", name="gateway")
    assert problems(verdict) == [
        ("manifest", "PluginRefused"),
        ("manifest", "PluginInvalid"),
        ("manifest", "PluginInvalid"),
        ("environment", "EnvironmentBuild"),
        ("environment", "EnvironmentBuild"),
    ]
    assert verdict.problems[-1].hint == "install one"
    assert (verdict.contract, verdict.skipped, at.steps.taken) == ("", ["environment", "code"], ["plan"])


@pytest.mark.parametrize("text", ["[tool", '[project]\nrequires-python = "new"\n'])
def test_one_mistake_is_told_once(at, text):
    """Installers read the same file, and would find the same."""
    verdict = at.verdict(text)
    assert problems(verdict) == [("manifest", "PluginInvalid")]
    assert at.steps.taken == []


def test_a_name_that_cannot_be_builds_nothing(at):
    """Environments are kept by name: it might be that of our own."""
    verdict = at.verdict(name="_base")
    assert problems(verdict) == [("manifest", "PluginRefused")]
    assert at.steps.taken == ["plan"]


def test_a_failed_build_shows_the_installers_last_lines(at):
    """And the code was not looked at."""
    at.steps.build_error = EnvironmentBuildError("shop", "no such release", log_tail=["because"])
    verdict = at.verdict()
    assert [problem.log_tail for problem in verdict.problems] == [["because"]]
    assert verdict.skipped == ["code"]


def test_every_breach_of_the_contract_is_a_problem_of_its_own(at):
    """With what it printed."""
    failures = [
        Failed("manifest", "PluginInvalid", "no router", "write one", location="run.py"),
        Failed("import", "E", "x"),
    ]
    at.steps.finding = Finding(Description(errors=failures), ["printed"])
    verdict = at.verdict(JOB.format("clean", "clean", 5))
    assert [(p.message, p.hint, p.location, p.log_tail) for p in verdict.problems] == [
        ("no router", "write one", "run.py", ["printed"]),
        ("x", "", "", ["printed"]),
    ]
    assert "work:clean" not in at.steps.taken


def test_jobs_are_looked_at_by_their_triggers_and_their_functions(at):
    """A supervisor would serve the plugin without them, and only log it."""
    missing = Failed("manifest", "PluginInvalid", "no function 'two'")
    died = Failed("import", "ValidatorDied", "ended its process")
    at.steps.inspected = {
        "work:two": Inspected(TaskDescription(errors=[missing]), None, []),
        "work:three": Inspected(None, died, ["last"]),
    }
    verdict = at.verdict(JOB.format("one", "one", 99) + JOB.format("two", "two", 1) + JOB.format("three", "three", 1))
    assert [problem.type for problem in verdict.problems] == ["JobInvalid", "PluginInvalid", "ValidatorDied"]
    assert "job 'one': cron: minute '99'" in verdict.problems[0].message


@pytest.mark.parametrize(
    ("claimed", "problem"),
    [
        ({"blog": "/app/said"}, "belongs to plugin 'blog'"),
        ({"shop": "/app/said"}, ""),
        ({"blog": "/app"}, ""),
    ],
)
def test_its_prefix_must_be_free(at, claimed, problem):
    """What a plugin of its own name has, it replaces."""
    verdict = at.verdict(claimed=claimed)
    assert [problem in found.message for found in verdict.problems] == [True] * bool(problem)
    assert verdict.prefix == ("" if problem else "/app/said")


def test_a_reserved_prefix_is_refused_before_anything_is_built(at):
    """As far as the manifest says it."""
    verdict = at.verdict('[tool.xcore]\nprefix = "/admin"\n', install=False)
    assert problems(verdict) == [("manifest", "PluginRefused")]


@pytest.mark.parametrize(
    ("code", "prefix"), [('PLUGIN_INFO = {"Api_prefix": "/app/written"}', "/app/written"), ("PLUGIN_INFO = f()", "")]
)
def test_without_installing_nothing_is_built_or_run_and_it_is_said(at, code, prefix):
    """The prefix is what is written in so many words, if it is."""
    (at.folder / "run.py").write_text(code)
    verdict = at.verdict(install=False)
    assert (verdict.problems, verdict.skipped, verdict.prefix) == ([], ["environment", "code"], prefix)
    assert at.steps.taken == ["plan"]
