"""New plugins and projects, made of the files in ``templates``, where ``$name`` and the like are filled in.

Each file there has the suffix ``.template``, so that no tool takes it for code of ours. What is made appears whole, by
a rename: a supervisor that watches the folder never sees half of it.
"""

import json
import os
import pwd
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from supervisor.errors import PluginRefusedError, XcoreError

if TYPE_CHECKING:
    from supervisor.config.configuration import Configuration

TEMPLATES = Path(__file__).with_name("templates")
SUFFIX = ".template"
TASK_MODULE = "module.py"
"""Of a template: goes to the task directory."""


class PluginTemplate(StrEnum):
    """What a new plugin begins with."""

    ROUTER = "router"  # run.py with PLUGIN_INFO, Plugin and a FastAPI router
    APP = "app"  # a FastAPI app
    PAGE = "page"  # a Starlette app: a web page with a Jinja2 template and static files
    TASK = "task"  # a router that shows what a background task of its own does, with a job


@dataclass(frozen=True)
class NewPlugin:
    """One that is to be made: its name, and what is filled in for it."""

    name: str
    template: PluginTemplate

    @property
    def prefix(self) -> str:
        """The default of its contract, in so many words."""
        return f"/app/{self.name}" if self.is_imported_by_name else f"/{self.name}"

    @property
    def is_imported_by_name(self) -> bool:
        """It has a run.py."""
        return self.template in {PluginTemplate.ROUTER, PluginTemplate.TASK}

    @property
    def task(self) -> str:
        """Name of its background task: another one, since logs are named by plugins and tasks alike."""
        return f"{self.name}_task" if self.template is PluginTemplate.TASK else ""

    def files(self) -> dict[str, str]:
        """Text of each file of its folder, and of TASK_MODULE."""
        distribution = self.name if re.fullmatch(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", self.name, re.ASCII) else "plugin"
        return rendered(
            self.template.value,
            {"name": self.name, "prefix": self.prefix, "task": self.task, "distribution": distribution},
        )


def rendered(template: str, values: Mapping[str, str]) -> dict[str, str]:
    """Text of each file of a template by its path; ``$author`` is filled in as a quoted text of Python and TOML."""
    folder = TEMPLATES / template
    values = {"author": json.dumps(author(), ensure_ascii=False), **values}
    return {
        str(file.relative_to(folder)).removesuffix(SUFFIX): Template(file.read_text(encoding="utf-8")).substitute(
            values
        )
        for file in sorted(folder.rglob(f"*{SUFFIX}"))
    }


def author() -> str:
    """Who runs this program, as the system knows them."""
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError:  # a container started with any number
        return "you"
    return user.pw_gecos.partition(",")[0] or user.pw_name


def make_plugin(plugin: NewPlugin, configuration: "Configuration") -> list[Path]:
    """Make a plugin in the plugin directory, with ``task`` in the task directory; return the new files.

    Raises:
        PluginRefusedError: it can have neither this name nor the prefix that follows from it.
        XcoreError: something of that name is there already, or it cannot be written.
    """
    _check(plugin, configuration)
    folder = configuration.plugins_directory / plugin.name
    module = configuration.tasks_directory / f"{plugin.task}.py"
    for path in (folder, module) if plugin.task else (folder,):
        if os.path.lexists(path):
            raise XcoreError(
                f"cannot make plugin {plugin.name!r}: {path} is there already", hint="choose another name, or remove it"
            )
    files = plugin.files()
    text = files.pop(TASK_MODULE, "")
    try:
        _write_folder(folder, files)
        if text:
            _write_task(module, text, folder)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise XcoreError(f"cannot make plugin {plugin.name!r}: {error.strerror or error}{where}") from error
    return [*(folder / name for name in files), *([module] if text else [])]


def _write_task(module: Path, text: str, folder: Path) -> None:
    """Write the task of a plugin that was made just now, which goes with it."""
    try:
        _write_file(module, text)
    except BaseException:
        shutil.rmtree(folder)
        raise


def _check(plugin: NewPlugin, configuration: "Configuration") -> None:
    from supervisor.plugins.written_prefixes import claims_of, written_prefixes  # noqa: PLC0415
    from supervisor.preparation.prefixes import check_plugin_name  # noqa: PLC0415 - see cli/config_commands.py
    from supervisor.tasks.discovery import name_problem  # noqa: PLC0415

    try:
        check_plugin_name(plugin.name)
        claims_of(written_prefixes(configuration)).claim(plugin.name, plugin.prefix)
    except PluginRefusedError as error:
        raise PluginRefusedError(plugin.name, error.problem, hint="choose another name") from error
    if plugin.is_imported_by_name and "." in plugin.name:
        problem = "a plugin with a run.py is imported by its name, and it has a dot"
        raise PluginRefusedError(plugin.name, problem, hint="choose another name, or another template")
    if plugin.task and (problem := name_problem(plugin.task)):
        problem = f"it cannot have a task {plugin.task!r}: {problem}"
        raise PluginRefusedError(plugin.name, problem, hint="choose another name, or another template")


def _write_folder(folder: Path, files: Mapping[str, str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{secrets.token_hex(8)}.new")  # hidden: no plugin
    try:
        for name, text in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_text(text, encoding="utf-8")
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _write_file(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{secrets.token_hex(8)}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)
