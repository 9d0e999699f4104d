"""Who may import, start, read and construct what: the rules of docs/design.md, checked on the code itself.

import-linter (pyproject.toml) checks the layers; here is what it cannot see.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_code import CLASSES, FUNCTIONS, PACKAGES, ROOT, all_modules, modules

STARTERS = re.compile(
    r"(subprocess\.\w+|os\.(fork|forkpty|posix_spawnp?|spawn\w+|exec\w+|system|popen)|pty\.(fork|spawn)"
    r"|(\w+\.)*(create_subprocess_\w+|subprocess_exec|subprocess_shell))"
)
CONTRACT = {
    "plugin_runtime.__version__", "plugin_runtime.protocol", "plugin_runtime.task_protocol",
    "plugin_runtime.template_protocol", "plugin_runtime.gateway_protocol", "plugin_runtime.views",
    "plugin_runtime.task_views", "plugin_runtime.wire", "plugin_runtime.call_protocol",
    "plugin_runtime.excerpt",
}  # fmt: skip
LINK = {"plugin_runtime.framing", "plugin_runtime.frame_connection"}
CHILD = {"plugin_runtime.process_facts"}
"""A gateway is a child of the supervisor, too, and says the same of itself."""
GUESTS_OPTIONAL = {"uvloop", "httpx", "a2wsgi", "fastapi", "starlette"}
"""What plugin_runtime may use where it is there, inside the one function that needs it."""

SUPERVISOR_ADAPTERS = [
    "Builder", "CommandServer", "ControlServer", "FolderLock", "Generations", "Installer", "Interpreters", "LogFiles",
    "LogWriter", "PackageIndex", "Programs", "Reaper", "Runtime", "Sampler", "Store.open",
]  # fmt: skip
DOCTOR = "supervisor.doctor.checklist"
DOCTORS_ADAPTERS = {"Interpreters", "PackageIndex", "Programs", "Reaper"}
"""It asks the same questions in the process of a command, where no supervisor has made anything."""
REHEARSAL = "supervisor.rehearsal"
REHEARSALS_ADAPTERS = {"LogFiles", "Programs"}
"""Likewise; what else it needs it has from the app."""
WORKSHOP = "supervisor.preparation.workshop"
WORKSHOPS_ADAPTERS = {"Builder", "Generations", "Installer", "Interpreters", "PackageIndex", "Runtime"}
"""It is a part of the app, which others use as well."""
THROWAWAY = "supervisor.doctor.throwaway"
GATEWAY_ADAPTERS = [
    "ControlChannel", "Dispatcher", "Door", "Handover", "LocalDoor", "Parking", "Upstreams", "create_server",
]  # fmt: skip

IMPURE = {
    "asyncio", "datetime", "logging", "os", "random", "secrets", "select", "shutil", "socket", "subprocess", "sys",
    "tempfile", "threading", "time", "uuid",
}  # fmt: skip
PURE_BY_NAME = {
    "supervisor.supervision.child_events",
    "supervisor.supervision.child_record",
    "supervisor.supervision.transitions",
    "gateway.errors",
}
"""Said of them elsewhere: in the docstring of lifecycle.py, and of the errors."""
IMPURE_AND_KNOWN = {("gateway.headers", "secrets"), ("supervisor.templates.module_list", "sys")}
"""The one draws the id of a request that brings none; as an argument it would be drawn for all and used by few. The
other has the names of Python's own modules from there, which are written into the interpreter."""


def imported_by(package: str) -> set[str]:
    return {name for module in modules(package) for name in module.imported}


# --- one module for one thing ---------------------------------------------------------------------------------


def test_only_spawn_starts_processes():
    """Everything that runs is in the process table: one door leads out of the supervisor, one out of a template.

    An upgrade executes the supervisor itself anew, in its own process. A program that becomes another one starts none,
    either: it is what spawn has started. The doctor's throw-away program is run by path, and forks to
    prove that a template could.
    """
    starters = {
        module.name
        for module in all_modules()
        if any(STARTERS.fullmatch(name) for name in module.called | module.imported)
        or {"subprocess", "multiprocessing", "pty"} & {found.top for found in module.imports}
    }
    become = {"supervisor.processes.tied_to_parent", "supervisor.takeover.upgrade"}
    assert starters == {"supervisor.processes.spawn", "plugin_runtime.forking", THROWAWAY} | become
    for module in modules("supervisor"):
        if module.name in become:
            assert {name for name in module.called if STARTERS.fullmatch(name)} == {"os.execv"}
    assert THROWAWAY not in {name for module in all_modules() for name in module.imported}


def test_nothing_goes_through_a_shell():
    """A plugin's name or a path with a quote in it must stay a name or a path."""
    shells = [
        module.name
        for module in all_modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.keyword) and node.arg == "shell"
    ]
    assert shells == []


def test_only_the_store_speaks_to_the_database():
    """What is written there is written in whole transactions, by one thread."""
    users = {
        module.name
        for module in all_modules()
        if {"sqlalchemy", "alembic", "sqlite3", "psycopg"} & {found.top for found in module.imports}
    }
    assert users
    assert {name for name in users if not name.startswith("supervisor.store")} == set()


def test_only_the_configuration_reads_config_json():
    """One reader, one set of rules and one error message; the command line knows the file's name, not its content."""
    readers = {"supervisor.config.json_text.parse_json", "supervisor.config.settings.Settings"}
    for module in all_modules():
        if module.name.startswith("supervisor.config."):
            continue
        assert not readers & module.imported, module.name
        assert module.name.startswith("supervisor.cli.") or "config.json" not in module.strings, module.name


@pytest.mark.parametrize(
    ("app", "adapters"), [("supervisor.app", SUPERVISOR_ADAPTERS), ("gateway.app", GATEWAY_ADAPTERS)]
)
def test_only_app_constructs_adapters(app, adapters):
    """Who needs one is given it, so every part can be tested with another."""
    package = modules(app.partition(".")[0])
    programs = {"supervisor.guard.__main__"}  # of its own, and wires itself
    makers = {
        adapter: [module.name for module in package if adapter in module.called and module.name not in programs]
        for adapter in adapters
    }
    others = {DOCTOR: DOCTORS_ADAPTERS, REHEARSAL: REHEARSALS_ADAPTERS, WORKSHOP: WORKSHOPS_ADAPTERS}
    assert {adapter: sorted(found) for adapter, found in makers.items()} == {
        adapter: sorted(
            [
                *([] if app == "supervisor.app" and adapter in WORKSHOPS_ADAPTERS else [app]),
                *(module for module, made in others.items() if app == "supervisor.app" and adapter in made),
            ]
        )
        for adapter in adapters
    }


# --- who imports whom -----------------------------------------------------------------------------------------


def test_the_guest_imports_the_standard_library_and_msgpack():
    """It runs in environments where nothing else is; what it can use if it is there waits inside a function."""
    for module in modules("plugin_runtime"):
        allowed = sys.stdlib_module_names | {"msgpack", "plugin_runtime"}
        for found in module.imports:
            assert found.top in (allowed | GUESTS_OPTIONAL if found.deferred else allowed), (module.name, found.module)


@pytest.mark.parametrize(
    ("package", "allowed"),
    [("supervisor", CONTRACT), ("gateway", CONTRACT | LINK | CHILD)],
    ids=["supervisor", "gateway"],
)
def test_host_and_gateway_share_only_the_contract_with_the_guest(package, allowed):
    """The rest of the guest is free to change without them."""
    shared = {
        name
        for module in modules(package)
        for found in module.imports
        if found.top == "plugin_runtime"
        for name in ([found.module] if "." in found.module else [f"plugin_runtime.{name}" for name in found.names])
    }
    assert shared <= allowed
    assert shared >= {"plugin_runtime.protocol", "plugin_runtime.views", "plugin_runtime.wire"}


@pytest.mark.parametrize("package", PACKAGES)
def test_plugins_tasks_and_tests_are_imported_by_nobody(package):
    """They are content: loaded by name, in a process of their own."""
    assert not {name.partition(".")[0] for name in imported_by(package)} & {"plugins", "backgroundtask", "tests"}


def test_what_calls_itself_pure_is():
    """No I/O, no clock, no chance, no tasks and no log: time and random numbers are arguments."""
    pure = [
        module
        for module in all_modules()
        if re.search(r"\bPure\b", module.docstring.partition("\n\n")[0] + module.docstring[-200:])
        or module.name in PURE_BY_NAME
    ]
    assert {module.name for module in pure} >= {
        *PURE_BY_NAME,
        "gateway.balance",
        "gateway.headers",
        "gateway.routes",
        "plugin_runtime.wire",
        "supervisor.guard.patience",
        "supervisor.guard.selection",
        "supervisor.supervision.liveness",
        "supervisor.preparation.prefixes",
        "supervisor.supervision.restart",
        "supervisor.spec",
    }
    impure = {(module.name, found.top) for module in pure for found in module.imports if found.top in IMPURE}
    assert impure <= IMPURE_AND_KNOWN


def test_the_guard_imports_next_to_nothing():
    """It runs beside every supervisor for as long as that one: a small program, not half a supervisor."""
    script = "import sys, supervisor.guard.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"asyncio", "logging", "subprocess", "pydantic", "psutil", "sqlalchemy", "typer"}
    ours = {name for name in loaded if name.partition(".")[0] in PACKAGES and not name.startswith("supervisor.guard")}
    assert ours <= CONTRACT | {
        "plugin_runtime", "supervisor", "supervisor.errors", "supervisor.folder_lock", "supervisor.processes",
        "supervisor.processes.process_stat", "supervisor.run_folder", "supervisor.state_folder",
    }  # fmt: skip


# --- names and sizes ------------------------------------------------------------------------------------------


def test_no_file_is_named_like_a_module_of_the_standard_library():
    """Where our folder gets onto sys.path, ours would be found in its place. The one exception is never imported so."""
    namesakes = {module.name for module in all_modules() if module.path.stem in sys.stdlib_module_names}
    assert namesakes == {"plugin_runtime.http"}
    assert "http" not in imported_by("plugin_runtime")


def test_files_classes_and_functions_are_short():
    """Longer ones are split; a file of 450 lines or a class of 280 was looked at hard before it got there."""
    for module in all_modules():
        assert len(module.text.splitlines()) <= 450, module.name
        for kinds, most in (FUNCTIONS, 60), (CLASSES, 280):
            assert [name for name, lines in module.lengths(*kinds) if lines > most] == []


# --- Python 3.9 -----------------------------------------------------------------------------------------------

GUEST_ON_39 = """
import importlib, pathlib, sys, typing
root = pathlib.Path(sys.argv[1])
for file in sorted((root / "plugin_runtime").rglob("*.py")):
    compile(file.read_text(encoding="utf-8"), str(file), "exec")
for line in sys.stdin.read().splitlines():
    module, _, name = line.partition(" ")
    found = importlib.import_module(module)
    assert not name or hasattr(found, name), "Python 3.9 has no %s.%s" % (module, name)
sys.path.insert(0, str(root))
for module in ("protocol", "gateway_protocol", "task_protocol", "template_protocol", "views", "task_views"):
    for cls in vars(importlib.import_module("plugin_runtime." + module)).values():
        if isinstance(cls, type):
            typing.get_type_hints(cls)
"""


def python39() -> str:
    """A real interpreter; pyenv's shims are passed by, since they start the version that somebody has chosen."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [Path(entry) for entry in os.get_exec_path() if Path(entry) != pyenv / "shims"]
    folders += sorted((pyenv / "versions").glob("3.9.*/bin"))
    for folder in folders:
        if os.access(folder / "python3.9", os.X_OK):
            return str(folder / "python3.9")
    if os.environ.get("XCORE_TEST_WITHOUT_PYTHON39") == "1":
        pytest.skip("no Python 3.9, and XCORE_TEST_WITHOUT_PYTHON39=1 allows for it")
    pytest.fail("no Python 3.9 on PATH or below pyenv's versions; install one, or set XCORE_TEST_WITHOUT_PYTHON39=1")


@pytest.mark.process
def test_the_guest_is_understood_by_python_39():
    """Syntax, every name it takes from the standard library, and the annotations that are resolved at run time."""
    wanted = {
        f"{found.module} {name}".strip()
        for module in modules("plugin_runtime")
        for found in module.imports
        if found.top in sys.stdlib_module_names and found.top != "__future__"
        for name in (found.names or ("",))
    }
    done = subprocess.run(
        [python39(), "-I", "-B", "-c", GUEST_ON_39, str(ROOT)],
        input="\n".join(sorted(wanted)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.returncode) == ("", 0)
