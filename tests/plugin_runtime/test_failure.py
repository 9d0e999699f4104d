"""What an author reads when an import fails."""

import importlib
import json
import sys

import pytest

from plugin_runtime import contracts
from plugin_runtime.failure import StartFailedError
from plugin_runtime.framing import MAX_BODY
from plugin_runtime.import_hints import PluginHints
from plugin_runtime.protocol import Failed, Phase
from plugin_runtime.sources import SourceFolders
from plugin_runtime.wire import encode
from tests.fakes.guests import make_plugin, write_files

pytestmark = pytest.mark.usefixtures("restored_imports")


def failure_of(tmp_path, files, *, ignored=()):
    settings = make_plugin(tmp_path, files)
    for name in ignored:
        write_files(tmp_path / "project/plugins/hello", {name: ""})
    report = contracts.prepare(settings)
    for name in [name for name in sys.modules if name.partition(".")[0] == "plugins"]:
        del sys.modules[name]
    try:
        importlib.import_module("plugins.hello.run")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what the code under test is given
        return report.of(error, Phase.IMPORT)
    raise AssertionError("the import did not fail")


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("import nowhere_to_be_found", 'dependencies = ["nowhere_to_be_found"] under [project]'),
        ("import nowhere_to_be_found.deep", 'dependencies = ["nowhere_to_be_found"] under [project]'),
        ("import cv2", 'dependencies = ["opencv-python"] under [project]'),
        ("import json.nothing", "'json' is installed, but has no 'nothing'"),
        ("import plugins.other", "plugin_runtime.client('other')"),
        ("from . import nothing.py", ""),
        ("from .missing import x", "make missing.py in the folder of the plugin"),
        ("from .secret import x", "secret.py exists, but is ignored"),
        ("import secret", "secret.py exists, but is ignored"),
        ("from json import nothing", ""),
    ],
)
def test_a_module_that_is_missing_comes_with_what_to_do(tmp_path, statement, hint):
    """Which of the many reasons it is, is known here and nowhere else."""
    failed = failure_of(tmp_path, {"run.py": statement + "\n"}, ignored=["secret.py"])
    assert (hint in failed.hint) if hint else failed.hint == ""
    assert failed.permanent


def raised_by(tmp_path, body):
    """What the call of a plugin's endpoint raises, through a library that calls it."""
    settings = make_plugin(tmp_path, {"run.py": f"import json\n\ndef endpoint(text):\n    {body}\n"})
    report = contracts.prepare(settings)
    for name in [name for name in sys.modules if name.partition(".")[0] == "plugins"]:
        del sys.modules[name]
    endpoint = importlib.import_module("plugins.hello.run").endpoint
    try:
        json.loads("{}", object_hook=endpoint)
    except Exception as error:  # noqa: BLE001 - what the code under test is given
        return report.of_request(error, "hello")
    raise AssertionError("the endpoint did not raise")


def test_what_an_endpoint_raised_is_told_from_its_own_code_on(tmp_path):
    """The innermost line of the author's, though a library raised; its frames alone, and the whole."""
    trouble = raised_by(tmp_path, "return json.loads('{')")
    assert (trouble.plugin, trouble.type, trouble.location) == ("hello", "JSONDecodeError", "run.py:4")
    assert trouble.message.startswith("JSONDecodeError: Expecting property name")
    assert trouble.excerpt == ["     3 | def endpoint(text):", ">    4 |     return json.loads('{')"]
    (frame,) = trouble.frames
    assert "in endpoint" in frame
    assert "decoder.py" in trouble.traceback


def test_what_an_endpoint_raised_fits_into_one_frame_of_the_link(tmp_path):
    """Some libraries put whole documents into their exceptions, and some code has one line."""
    long = "\U0001f600" * 30_000
    trouble = raised_by(tmp_path, f"raise type({long[:1000]!r}, (Exception,), {{}})({long!r})")
    assert len(encode(trouble)) <= MAX_BODY


HELPERS = "write from .helpers import ..., or in a subfolder or a task: from plugins.hello.helpers import ..."


@pytest.mark.parametrize(
    ("file", "statement", "hint"),
    [
        ("helpers.py", "from helpers import greet", f"helpers.py is in the plugin's package: {HELPERS}"),
        ("helpers/__init__.py", "import helpers", f"helpers/__init__.py is in the plugin's package: {HELPERS}"),
        ("helpers/texts.py", "import helpers.texts", f"helpers/ is in the plugin's package: {HELPERS}"),
        ("src/helpers.py", "from .helpers import greet", "from plugins.hello.src.helpers import ..."),
    ],
)
def test_a_module_of_the_plugins_own_comes_with_the_import_that_finds_it(tmp_path, file, statement, hint):
    """Beside a run.py it lies in the plugin's package, where Python scripts have taught otherwise."""
    assert hint in failure_of(tmp_path, {"run.py": statement + "\n", file: "greet = 1\n"}).hint


def test_the_import_that_is_proposed_can_be_written(tmp_path):
    """A name with a hyphen cannot stand in an import."""
    folders = SourceFolders(str(tmp_path / "my-shop"), str(tmp_path / "copy"))
    write_files(tmp_path / "copy", {"helpers.py": ""})
    hint = PluginHints("my-shop", folders).of("helpers")
    assert hint == "helpers.py is in the plugin's package: write from .helpers import ..."


def test_a_folder_without_modules_is_not_what_was_meant(tmp_path):
    """Data about a package may lie in a folder of its name."""
    failed = failure_of(tmp_path, {"run.py": "import nowhere_to_be_found\n", "nowhere_to_be_found/data.json": "{}"})
    assert "dependencies" in failed.hint


def test_a_package_can_be_added_without_poetry(tmp_path):
    """It need not be on the path of the author; the file is always there to be edited."""
    failed = failure_of(tmp_path, {"run.py": "import nowhere\n", "pyproject.toml": ""})
    assert failed.hint == (
        'add "nowhere" to dependencies in the plugin\'s pyproject.toml, or run in its folder: poetry add nowhere'
    )


def test_our_own_packages_are_named_as_ours(tmp_path, monkeypatch):
    """The hint to install "supervisor" would bring supervisord."""
    code = "raise ModuleNotFoundError('no', name='supervisor.config')\n"
    assert "package of xcore" in failure_of(tmp_path, {"run.py": code}).hint


def test_the_location_is_the_innermost_line_of_the_plugin(tmp_path):
    """Not the one in the library that it called."""
    code = "import json\n\ndef read():\n    json.loads('{')\n\nread()\n"
    failed = failure_of(tmp_path, {"run.py": "from . import deep\n", "deep.py": code})
    assert failed.location == "deep.py:4"
    assert failed.type == "JSONDecodeError"


def test_a_syntax_error_is_located_where_it_is(tmp_path):
    """The traceback ends at the import; the error knows better."""
    failed = failure_of(tmp_path, {"run.py": "from . import deep\n", "deep.py": "a = 1\nb = = 2\n"})
    assert (failed.location, failed.type, failed.permanent) == ("deep.py:2", "SyntaxError", True)


def test_the_traceback_shows_the_plugin_and_not_the_machinery(tmp_path):
    """Neither our frames nor those of the import system, also in the chain of causes."""
    code = """
try:
    import nowhere_to_be_found
except ImportError as error:
    raise RuntimeError("no driver") from error
"""
    failed = failure_of(tmp_path, {"run.py": code})
    assert "run.py" in failed.traceback
    assert "direct cause" in failed.traceback
    assert "RuntimeError: no driver" in failed.traceback
    assert "sources.py" not in failed.traceback
    assert "<frozen importlib" not in failed.traceback


def test_an_exit_at_import_says_so(tmp_path):
    """sys.exit() in a module ends a script; here it would end the worker without a word."""
    failed = failure_of(tmp_path, {"run.py": "import sys\nsys.exit(4)\n"})
    assert failed.message == "cannot start plugin 'hello': it ended the process with sys.exit(4)"
    assert not failed.permanent


def test_whatever_is_raised_can_be_sent(tmp_path):
    """A message that cannot be encoded, or is too large, would cost the report and leave a bare exit code."""
    code = "raise OSError('x' * 9_000_000 + '\\udcff')\n"
    failed = failure_of(tmp_path, {"run.py": code})
    assert len(encode(failed)) < 50_000
    code = "raise OSError('name\\udcff')\n"
    failed = failure_of(tmp_path / "second", {"run.py": code})
    assert "name\\udcff" in failed.message
    assert encode(failed)


def test_an_exception_that_cannot_be_printed_is_reported(tmp_path):
    """Its own __str__ raises; where it was raised is known all the same."""
    code = "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute\n"
    failed = failure_of(tmp_path, {"run.py": code})
    assert (failed.type, failed.location) == ("Mute", "run.py:3")


def test_many_errors_become_one_message_for_the_channel():
    """A worker reports once; nothing of what was found is lost."""
    first = Failed("manifest", "A", "first", hint="do this", location="run.py")
    second = Failed("manifest", "B", "second", hint="do that", permanent=True)
    failed = StartFailedError([first, second]).failed
    assert (failed.type, failed.message, failed.hint) == ("A", "first\nsecond", "do this\ndo that")
    assert failed.permanent


def test_the_line_is_shown_as_it_was_when_it_was_tried(tmp_path):
    """From the copy: what has been saved since would lead an author astray."""
    failed = failure_of(tmp_path, {"run.py": "a = 1\nraise RuntimeError\nb = 2\n"})
    assert failed.excerpt == ["     1 | a = 1", ">    2 | raise RuntimeError", "     3 | b = 2"]
    broken = failure_of(tmp_path / "other", {"run.py": "a = = 1\n"})
    assert broken.excerpt == [">    1 | a = = 1"]


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("import os; os.environ['SHOP_URL']", "set SHOP_URL in the .env of the plugin"),
        ("{}['SHOP_URL']", ""),
        ("open('data/none.json')", "'data/none.json' was looked for in "),
        ("open('/nowhere/none.json')", ""),
    ],
)
def test_what_is_missing_comes_with_the_place_where_it_belongs(tmp_path, statement, hint):
    """A variable and a file; of any other key or path nothing is known."""
    failed = failure_of(tmp_path, {"run.py": f"{statement}\n"})
    assert (hint in failed.hint) if hint else failed.hint == ""
