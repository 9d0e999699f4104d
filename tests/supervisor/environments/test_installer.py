import asyncio
import os
import subprocess
import threading
from pathlib import Path

import pytest

from supervisor.environments import Interpreter, project
from supervisor.environments.build_log import BuildLogs
from supervisor.environments.builder import Builder
from supervisor.environments.installer import BASE, SHIPPED_BASE, Installer
from supervisor.environments.interpreters import Interpreters, own
from supervisor.environments.package_index import PackageIndex
from supervisor.environments.runner import Completed
from supervisor.environments.runtime import Runtime
from supervisor.errors import EnvironmentBuildError
from tests import machine
from tests.fakes.runners import ForbiddenRunner, ScriptedRunner, SubprocessRunner

INDEX = 'xcore-index:{"index_url": "https://pip.example/simple", "certificate": null, "mirror": true}'


def play(call):
    if call.verb == "venv":
        (call.cwd / "bin").mkdir()
        (call.cwd / "bin" / "python").touch()
    if call.verb == "lock":
        (call.cwd / "poetry.lock").write_text("# resolved")
    return Completed(0, tail=(INDEX,) if call.verb == "index" else ())


class Site:
    """A state folder, and plugins beside it."""

    def __init__(self, folder):
        self.folder = folder
        self.envs = folder / "state" / "envs"

    def plugin(self, name, pyproject=None):
        folder = self.folder / "plugins" / name
        folder.mkdir(parents=True)
        if pyproject is not None:
            (folder / "pyproject.toml").write_text(pyproject)
        return folder

    def builder(self, runner):
        index, logs = PackageIndex(runner, os.environ), BuildLogs(self.folder / "logs")
        return Builder(self.envs / ".cache", runner, index, logs, os.environ)

    def installer(self, runner, base=None):
        interpreters = Interpreters(runner, os.environ, self.envs / ".interpreters.json")
        return Installer(self.envs, self.builder(runner), interpreters, base)

    def ensure(self, folder, runner=None, base=None):
        installer = self.installer(runner or ScriptedRunner(play), base)
        return asyncio.run(installer.ensure(folder.name if folder else "task", folder))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_a_plugin_with_dependencies_gets_an_environment_of_its_own(site):
    """That is what the folder of environments is for."""
    environment = site.ensure(site.plugin("shop", "[project]\ndependencies = ['six']"))
    assert environment.folder.parent == site.envs / "shop"


def test_files_of_a_plugin_are_read_beside_the_event_loop(site, monkeypatch):
    """They may lie on a file server that does not answer, and everybody else is served meanwhile."""
    threads = set()

    def read(*arguments, original=project.read):
        threads.add(threading.current_thread())
        return original(*arguments)

    monkeypatch.setattr(project, "read", read)
    site.ensure(site.plugin("shop"))
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("pyproject", [None, "[tool.xcore]\nprefix = '/x'", "[project]\nname = 'shop'"])
def test_a_plugin_without_dependencies_shares_the_base_environment(site, pyproject):
    """One environment for all of them, built once."""
    first = site.ensure(site.plugin("shop", pyproject))
    assert first.folder.parent == site.envs / BASE
    assert site.ensure(site.plugin("todo"), ForbiddenRunner()) == first
    assert site.ensure(None, ForbiddenRunner()) == first


def test_the_base_environment_may_be_the_operators_own(site):
    """supervisor.base_environment names a pyproject.toml."""
    base = site.folder / "base.toml"
    base.write_text("[project]\ndependencies = ['django']")
    environment = site.ensure(None, base=base)
    assert "django" in (environment.folder / "pyproject.toml").read_text()


def test_a_missing_base_environment_is_named(site):
    """The operator mistyped a path."""
    with pytest.raises(EnvironmentBuildError, match=r"nowhere\.toml.*supervisor\.base_environment"):
        site.ensure(None, base=Path("/nowhere.toml"))


def test_a_python_that_neither_plugin_nor_base_allow_is_refused_before_anything_is_built(site):
    """Both constraints are named, since either may be the one to change."""
    folder = site.plugin("shop", "[project]\nrequires-python = '<3.0'")
    with pytest.raises(EnvironmentBuildError, match=r"'>=3\.11,<4' and '<3\.0'"):
        site.ensure(folder)
    assert not site.envs.joinpath(BASE).exists()


def test_all_that_keeps_an_environment_from_being_planned_is_found_at_once(site):
    """A path dependency and a Python that is not there have nothing to do with each other."""
    text = "[project]\nrequires-python = '>=4'\ndependencies = ['mine @ file:///srv/mine']"
    folder, installer = site.plugin("shop", text), site.installer(SubprocessRunner())
    told = [error.problem for error in asyncio.run(installer.problems("shop", folder))]
    assert ["path dependency 'mine'" in told[0], "requires-python = '>=4'" in told[1], len(told)] == [True, True, 2]
    with pytest.raises(EnvironmentBuildError, match="path dependency 'mine'"):
        asyncio.run(installer.plan("shop", folder))
    (folder / "pyproject.toml").write_text("[project")
    assert ["TOML" in error.problem for error in asyncio.run(installer.problems("shop", folder))] == [True]


def test_nothing_is_written_into_the_plugins_folder(site):
    """The folder is its author's."""
    folder = site.plugin("shop", "[project]\ndependencies = ['six']")
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
    site.ensure(folder)
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]} == before


@pytest.mark.parametrize("project", ["base", "guest"])
def test_shipped_locks_name_no_index(project):
    """They are installed from whatever index the site has."""
    lock = SHIPPED_BASE.parent.parent / project / "poetry.lock"
    assert "://" not in lock.read_text()
    assert "[package.source]" not in lock.read_text()


def run_in(environment, code):
    return subprocess.run([environment.python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
@pytest.mark.environment
def test_contradicting_dependencies_live_side_by_side(site):
    """The promise of the whole: pydantic 1 here, pydantic 2 there, and neither is in the supervisor's way."""
    old = site.plugin("old", "[tool.poetry.dependencies]\npython = '^3.9'\npydantic = '^1.10'")
    new = site.plugin("new", "[project]\nname = 'new'\nrequires-python = '>=3.8'\ndependencies = ['pydantic>=2']")

    async def both():
        installer = site.installer(SubprocessRunner())
        return await asyncio.gather(installer.ensure("old", old), installer.ensure("new", new))

    environments = asyncio.run(both())
    versions = [run_in(e, "import pydantic; print(pydantic.VERSION)")[:2] for e in environments]
    assert versions == ["1.", "2."]
    assert [site.ensure(old, ForbiddenRunner()), site.ensure(new, ForbiddenRunner())] == environments


@pytest.mark.slow
@pytest.mark.environment
def test_a_lock_is_honoured_and_a_stale_one_refused(site):
    """The author's versions, not the newest; and a dependency added without "poetry lock" is reported."""
    pyproject = "[project]\nname = 'shop'\nversion = '1'\nrequires-python = '>=3.9'\ndependencies = ['six']\n"
    resolved = site.ensure(site.plugin("resolver", pyproject), SubprocessRunner())
    # A lock for exactly this Python, from a pyproject that says so, too.
    folder = site.plugin("shop", (resolved.folder / "pyproject.toml").read_text())
    lock = (resolved.folder / "poetry.lock").read_text()
    (folder / "poetry.lock").write_text(lock)
    environment = site.ensure(folder, SubprocessRunner())
    assert (environment.folder / "poetry.lock").read_text() == lock
    assert run_in(environment, "import six; print(six.__name__)") == "six\n"
    text = (folder / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(text.replace('"six"', '"six", "idna"'))
    with pytest.raises(EnvironmentBuildError, match=r"poetry\.lock is older .*run 'poetry lock'"):
        site.ensure(folder, SubprocessRunner())


@pytest.mark.slow
@pytest.mark.environment
def test_a_dependency_that_does_not_exist_fails_with_the_installers_words(site):
    """Name, lines and a hint: the author can mend it without a shell on the server."""
    folder = site.plugin("shop", "[project]\ndependencies = ['xcore-surely-no-such-package']")
    with pytest.raises(EnvironmentBuildError, match="not in the package index") as caught:
        site.ensure(folder, SubprocessRunner())
    assert "xcore-surely-no-such-package" in " ".join(caught.value.log_tail)


@pytest.mark.slow
@pytest.mark.environment
def test_the_base_environment_serves_fastapi(site):
    """What a plugin without pyproject.toml may count on."""
    environment = site.ensure(None, SubprocessRunner())
    assert run_in(environment, "import fastapi, pydantic, python_multipart; print('ok')") == "ok\n"


def interpreter(version):
    """The supervisor's own, or another one that is installed."""
    if version == "own":
        return own()
    path = machine.python(version)
    probe = [path, "-c", "import platform; print(platform.python_version())"]
    return Interpreter(path, subprocess.run(probe, check=True, capture_output=True, text=True).stdout.strip())


@pytest.mark.slow
@pytest.mark.environment
@pytest.mark.parametrize("version", ["own", "3.9", "3.13"])
def test_the_guests_packages_work_on_every_python(site, tmp_path, version):
    """Last on sys.path of a foreign interpreter; what only an old Python needs is there on the old one."""
    python = interpreter(version)
    runtime = Runtime(tmp_path / "runtime", site.builder(SubprocessRunner()))
    packages = asyncio.run(runtime.ensure(python))
    assert packages.path.is_relative_to(tmp_path / "runtime" / python.tag)
    modules = "msgpack, uvloop, httpx, a2wsgi" if packages.optional else "msgpack"
    code = f"import sys; sys.path.append({str(packages.path)!r}); import {modules}; print(msgpack.unpackb(b'\\x01'))"
    output = subprocess.run([python.path, "-I", "-c", code], check=True, capture_output=True, text=True).stdout
    assert output == "1\n"
    again = Runtime(tmp_path / "runtime", site.builder(ForbiddenRunner()))
    assert asyncio.run(again.ensure(python)) == packages


@pytest.mark.slow
@pytest.mark.environment
def test_an_older_python_is_found_and_used(site):
    """requires-python picks the interpreter, and a second start asks nobody again."""
    machine.python("3.9")
    folder = site.plugin("old", "[project]\nname = 'old'\nrequires-python = '~=3.9.0'\ndependencies = ['six']")
    environment = site.ensure(folder, SubprocessRunner())
    assert run_in(environment, "import sys, six; print(sys.version_info[:2])") == "(3, 9)\n"
    assert site.ensure(folder, ForbiddenRunner()) == environment
