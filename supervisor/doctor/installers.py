"""What environments are made with: Poetry, virtual environments, the package index, the installed Pythons."""

import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from supervisor.doctor.finding import Finding, missing, ok, warning
from supervisor.environments import poetry_program
from supervisor.environments.environment import Interpreter
from supervisor.environments.interpreters import Interpreters
from supervisor.environments.package_index import PackageIndex, PackageSource
from supervisor.environments.runner import SUPERVISOR, Completed, Runner

POETRY_LIMIT = 12.0
"""Seconds; Poetry imports half of what is installed, and the disk may be cold."""
INDEX_LIMIT = 15.0
"""Seconds; the programs that ask have limits of their own for the network, 5 and 3 s."""
_MARGIN = 1.0
"""Seconds by which a program is ended before the check that has started it."""

_REQUEST = Path(__file__).with_name("index_request.py")
_MIRROR_PLUGIN = "poetry-plugin-pypi-mirror"
_NEEDED = "import ctypes, ssl, zlib; print('xcore-ok')"
"""What a Python may have been built without, and packages need."""


# --- Poetry ---------------------------------------------------------------------------------------------------


async def poetry(runner: Runner, folder: Path, environment: Mapping[str, str]) -> Finding:
    variables = poetry_program.variables(environment, folder, folder / "cache", PackageSource())
    command = [sys.executable, "-I", "-m", "poetry", "--version", "--no-ansi"]
    done = await runner.run(command, name=SUPERVISOR, cwd=folder, environment=variables, timeout=POETRY_LIMIT - _MARGIN)
    return judge_poetry(done, _version(_MIRROR_PLUGIN))


def judge_poetry(done: Completed, plugin: str) -> Finding:
    """``plugin``: version of the plugin for mirrors, "" where it is not installed."""
    if not done.succeeded:
        return missing(f"does not start: {_last(done)}")
    version = next((match[1] for line in done.tail if (match := re.search(r"version (\S+?)\)?$", line))), "?")
    if not plugin:
        return warning(f"{version}, without {_MIRROR_PLUGIN}", "Poetry asks its default source, whatever is configured")
    return ok(f"{version}, {_MIRROR_PLUGIN} {plugin}")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


# --- virtual environments -------------------------------------------------------------------------------------


async def virtual_environment(runner: Runner, folder: Path, interpreter: Interpreter) -> Finding:
    """Make one in ``folder``, as the builder does, and start its Python."""
    venv = folder / "venv"
    make = [str(interpreter.path), "-I", "-m", "venv", "--without-pip", str(venv)]
    made = await runner.run(make, name=SUPERVISOR, cwd=folder, environment={}, timeout=POETRY_LIMIT / 2 - _MARGIN)
    if not made.succeeded:
        return missing(f"cannot be made with Python {interpreter}: {_last(made)}")
    use = [str(venv / "bin" / "python"), "-I", "-c", _NEEDED]
    used = await runner.run(use, name=SUPERVISOR, cwd=folder, environment={}, timeout=POETRY_LIMIT / 2)
    if not used.succeeded:
        return missing(f"made with Python {interpreter}, but not usable: {_last(used)}")
    return ok(f"made with Python {interpreter}")


# --- package index --------------------------------------------------------------------------------------------


async def package_index(runner: Runner, folder: Path, environment: Mapping[str, str], index: PackageIndex) -> Finding:
    source = await index.source(SUPERVISOR)
    if source.mirror is None:
        return ok("Poetry's default source answers")
    shown = without_secrets(source.mirror)
    if source.mirror.startswith("file:"):
        path = Path(url2pathname(urlsplit(source.mirror).path))
        return ok(shown) if path.is_dir() else warning(f"{shown}: there is no such folder")
    variables = poetry_program.variables(environment, folder, folder / "cache", source)
    command = [sys.executable, "-I", str(_REQUEST)]
    done = await runner.run(command, name=SUPERVISOR, cwd=folder, environment=variables, timeout=INDEX_LIMIT / 2)
    return ok(f"{shown} answers") if done.succeeded else warning(f"{shown}: {_last(done)}")


def without_secrets(url: str) -> str:
    """An address of an index without user and password, nor a query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


# --- interpreters ---------------------------------------------------------------------------------------------


async def interpreters(found: Interpreters) -> Finding:
    return judge_interpreters(await found.installed())


def judge_interpreters(found: Sequence[Interpreter]) -> Finding:
    """The first one is our own."""
    return ok(", ".join(interpreter.version for interpreter in found))


def _last(done: Completed) -> str:
    return f"{done.tail[-1].strip()} ({done})" if done.tail else str(done)
