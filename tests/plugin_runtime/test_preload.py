"""Imports of a template, done in processes of their own: what is found in them is about the whole process."""

import json
import subprocess
import sys

import pytest

from tests.fakes.guests import write_files

pytestmark = [pytest.mark.process, pytest.mark.slow]

PROGRAM = """
import dataclasses, json, os, socket, sys
import fine_before
from plugin_runtime.preload import preload

control = socket.socketpair()
sys.path.insert(0, os.getcwd())
done = preload(sys.argv[1:])
imported = [name for name in sys.argv[1:] if name in sys.modules]
print(json.dumps({**dataclasses.asdict(done), "imported": imported}), flush=True)
os._exit(0)  # whatever a module has left behind
"""


@pytest.fixture
def preloaded(tmp_path):
    """What came of preloading these modules: a Failed or None, which of them are imported, what they printed, and
    which are missing for what reason.
    """

    def run(modules: dict[str, str], names=None):
        program = PROGRAM if "fine_before" in modules else PROGRAM.replace("import fine_before", "")
        write_files(tmp_path, {f"{name}.py": code for name, code in modules.items()})
        command = [sys.executable, "-u", "-c", program, *(names or modules)]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
        facts = json.loads(result.stdout.splitlines()[-1])
        return facts["unsafe"], facts["imported"], result.stdout.splitlines()[:-1], facts["missing"]

    return run


def test_what_cannot_be_imported_is_passed_over(preloaded):
    """It may need what only the plugin's own code prepares, and fails there again if it does not."""
    modules = {
        "raises": "raise ValueError('not yet')",
        "exits": "import sys; sys.exit(3)",
        "lacks": "import nowhere_to_be_found",
        "broken": "def (",
        "fine": "",
    }
    failed, imported, printed, missing = preloaded(modules, [*modules, "", ".", "not there"])
    assert (failed, imported, printed) == (None, ["fine"], [])
    assert set(missing) == {"raises", "exits", "lacks", "broken", "", ".", "not there"}
    assert missing["raises"] == "ValueError: not yet"
    assert missing["exits"] == "SystemExit: 3"
    assert missing["lacks"] == "ModuleNotFoundError: No module named 'nowhere_to_be_found'"


def test_why_something_cannot_be_imported_fits_into_a_message(preloaded):
    """The words of an exception are foreign code: long, no text, or an exception of their own."""
    modules = {
        "long": "raise ValueError('x' * 10**6)",
        "odd": "raise ValueError('\\udce9')",
        "mute": "class Mute(Exception):\n    def __str__(self): raise Mute\nraise Mute",
    }
    *_, missing = preloaded(modules)
    assert len(missing["long"]) == 500
    assert (missing["odd"], missing["mute"]) == ("ValueError: \\udce9", "Mute")


def test_modules_are_imported_in_their_order_and_once(preloaded):
    """The order is that of a process that was ready; what is imported already stays as it is."""
    modules = {"fine_before": "print('before')", "b": "import c; print('b')", "c": "print('c')", "a": "print('a')"}
    failed, imported, printed, _ = preloaded(modules, ["b", "c", "a", "fine_before", "b"])
    assert failed is None
    assert imported == ["b", "c", "a", "fine_before", "b"]
    assert printed == ["before", "c", "b", "a"]


THREAD = "import threading\nfor _ in range({}): threading.Thread(target=threading.Event().wait, daemon=True).start()"
NATIVE_THREAD = """
import ctypes
libc = ctypes.CDLL(None)
thread = ctypes.c_ulong()
assert libc.pthread_create(ctypes.byref(thread), None, libc.pause, None) == 0
"""


@pytest.mark.parametrize(
    ("code", "left"),
    [
        (THREAD.format(1), "leaves 1 thread behind"),
        (THREAD.format(3), "leaves 3 threads behind"),
        (NATIVE_THREAD, "leaves 1 thread behind"),
        ("import socket; kept = socket.socket()", "leaves an open descriptor (socket:["),
        ("import os; kept = os.pipe()", "leaves an open descriptor (pipe:["),
        ("import select; kept = select.epoll()", "leaves an open descriptor (anon_inode:[eventpoll]"),
        ("import asyncio; loop = asyncio.new_event_loop()", "leaves an open descriptor ("),
        (
            "import sqlite3; kept = sqlite3.connect('kept.db'); kept.execute('create table t (x)')",
            "leaves an open file ({folder}/kept.db)",
        ),
        ("kept = open('kept.log', 'a')", "leaves an open file ({folder}/kept.log)"),
        ("kept = open(b'kept-\\xff', 'wb')", "leaves an open file ({folder}/kept-\\xff)"),
        ("import socket, sys; sys.kept = socket.socket()\nraise ValueError", "leaves an open descriptor (socket:["),
    ],
    ids=[
        "thread",
        "threads",
        "thread in C",
        "socket",
        "pipe",
        "epoll",
        "event loop",
        "database",
        "log",
        "no text",
        "socket, and fails",
    ],
)
def test_what_cannot_be_forked_is_named_with_the_module_that_leaves_it(preloaded, tmp_path, code, left):
    """Forked, a thread would be missing and two processes would read from one queue; nothing but a change heals it."""
    failed, imported, *_ = preloaded({"fine": "", "leaves": code, "never": ""})
    assert (failed["type"], failed["phase"], failed["permanent"]) == ("TemplateUnsafe", "import", True)
    left = left.replace("{folder}", str(tmp_path))
    assert failed["message"].startswith(f"cannot fork from this template: the import of 'leaves' {left}")
    assert failed["location"] == "leaves"
    assert "template = false" in failed["hint"]
    assert "never" not in imported


def test_what_can_be_shared_is_no_problem(preloaded):
    """Files for reading, devices, memory, and what was closed again."""
    modules = {
        "reads": "kept = open(__file__)",
        "maps": "import mmap; kept = mmap.mmap(-1, 4096)",
        "discards": "kept = open('/dev/null', 'w'), open('/dev/urandom', 'rb')",
        "shares": "import os; kept = os.memfd_create('kept')",
        "shares_by_name": "import os; kept = os.open('/dev/shm', os.O_TMPFILE | os.O_RDWR)",
        "closes": "import socket; socket.socket().close()",
    }
    assert preloaded(modules) == (None, list(modules), [], {})


def test_a_thread_that_has_ended_is_none(preloaded):
    """The kernel still counts a thread for a moment after it was joined; often enough to be seen in a few imports."""
    joins = "import threading; thread = threading.Thread(target=int); thread.start(); thread.join()"
    modules = {f"joins_{number}": joins for number in range(30)}
    assert preloaded(modules) == (None, list(modules), [], {})
