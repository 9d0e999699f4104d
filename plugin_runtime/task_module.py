"""Import of what a task or a job consists of.

The module of a task is read from its copy, under the name of the real file. What else lies in its folder is imported
from where it lies, after all that the environment has: every file there is named freely by its author, and one called
``queue.py`` must not take the place of the standard library's for all the others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

from plugin_runtime import plugin_settings, sources, task_metadata
from plugin_runtime.entry_point import EntryPoint, EntryPointError
from plugin_runtime.failure import FailureReport, Hints, StartFailedError
from plugin_runtime.import_hints import PluginHints, TaskHints
from plugin_runtime.job_declaration import accepts
from plugin_runtime.protocol import Failed, Phase
from plugin_runtime.sources import PARENT_PACKAGE, SEED, FileLoader, SourceFolders
from plugin_runtime.task_metadata import TaskContents
from plugin_runtime.task_protocol import TaskSettings


def prepare(settings: TaskSettings) -> FailureReport:
    """Make the code of the plugin, if there is one, importable in this process, and go to its working directory.

    Raises:
        OSError: the working directory cannot be entered.
    """
    plugin_settings.belong_to(settings.plugin or settings.owner)
    folders = None
    if settings.plugin:
        folders = SourceFolders.absolute(settings.plugin_folder, settings.plugin_source)
        sources.install_plugin(settings.plugin, folders, settings.plugin_contract)
    report = _report(settings, folders)
    os.chdir(settings.working_directory)
    return report


def load(settings: TaskSettings, report: FailureReport) -> TaskContents:
    """Import the module of a task and read what it says of itself.

    Raises:
        StartFailedError: it cannot be imported.
    """
    try:
        module = _import_file(settings.module_file, settings.module_copy)
    except (Exception, SystemExit) as error:  # boundary: anything may be raised while a module is imported
        raise StartFailedError([report.of(error, Phase.IMPORT)]) from error
    return task_metadata.read(module, settings.owner, Path(settings.module_file).name)


def find_function(settings: TaskSettings, report: FailureReport) -> Callable[[], Any]:
    """Import the code of a job and find the function that its runs call.

    Raises:
        StartFailedError: it cannot be imported, or there is no such function.
    """
    return _function_of_plugin(settings, report) if settings.entry else _function_of_task(settings, report)


def _report(settings: TaskSettings, folders: Optional[SourceFolders]) -> FailureReport:
    """``folders``: those of the plugin whose code is importable, if there is one."""
    code = [folders] if folders else []
    hints: Hints = PluginHints(settings.plugin, folders) if folders else TaskHints()
    subject = f"job {settings.job!r} of plugin {settings.owner!r}"
    if settings.module_file:
        directory = str(Path(settings.module_file).absolute().parent)
        code.insert(0, SourceFolders(directory, directory))  # its own module has its name there, too
        hints = TaskHints(directory, PluginHints(settings.plugin, folders) if folders else None)
        subject = f"task {settings.owner!r}"
    return FailureReport(subject, tuple(code), hints)


def _import_file(file: str, copy: str) -> ModuleType:
    place = SourceFolders.absolute(file, copy)
    name = _free_name(Path(file).stem)
    sys.path.append(str(Path(place.folder).parent))
    spec = spec_from_file_location(name, place.folder, loader=FileLoader(name, place.folder, place))
    assert spec is not None  # noqa: S101 - given a loader it always is one
    assert spec.loader is not None  # noqa: S101
    module = module_from_spec(spec)
    sys.modules[name] = module  # before its code runs, as Python does it: dataclasses and others look there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _free_name(stem: str) -> str:
    """The file's stem, unless a module of that name can be imported, which others may want: then ``task_<stem>``."""
    try:
        taken = stem in sys.modules or find_spec(stem) is not None
    except ValueError:  # a module without a spec, made by somebody's hand
        taken = True
    return f"task_{stem}" if taken else stem


def _function_of_task(settings: TaskSettings, report: FailureReport) -> Callable[[], Any]:
    contents = load(settings, report)
    if contents.description.errors:
        raise StartFailedError(contents.description.errors)
    if settings.job not in contents.functions:
        known = ", ".join(sorted(contents.functions)) or "none"
        file = Path(settings.module_file).name
        problem = f"con has no job {settings.job!r} any more; it has: {known}"
        raise StartFailedError([task_metadata.breach(settings.owner, file, problem, "")])
    return contents.functions[settings.job]


def _function_of_plugin(settings: TaskSettings, report: FailureReport) -> Callable[[], Any]:
    # A run.py's modules are those of its package; the top-level ones of an app are its own.
    package = f"{PARENT_PACKAGE}.{settings.plugin}" if settings.plugin_contract == SEED else ""
    try:
        function: Any = EntryPoint(settings.entry, "entry", "jobs:cleanup", package).load()
    except EntryPointError as error:
        raise _invalid(settings, error.problem, error.hint) from None
    except (Exception, SystemExit) as error:  # boundary: anything may be raised while a plugin is imported
        raise StartFailedError([report.of(error, Phase.IMPORT)]) from error
    if not callable(function):
        raise _invalid(settings, "it is not a function", "name a function")
    if not accepts(function, 0):
        raise _invalid(settings, "it needs arguments, and jobs are called without", "give its parameters defaults")
    found: Callable[[], Any] = function
    return found


def _invalid(settings: TaskSettings, problem: str, hint: str) -> StartFailedError:
    message = f"cannot load job {settings.job!r} of plugin {settings.owner!r}: entry = {settings.entry!r}: {problem}"
    return StartFailedError([Failed(Phase.MANIFEST.value, "PluginInvalid", message, hint, permanent=True)])
