"""The founding contract, checked and served."""

import asyncio
import importlib
import re
import sys

import pytest

from plugin_runtime import contracts
from plugin_runtime.contracts import seed
from plugin_runtime.failure import StartFailedError
from tests.fakes.asgi import get
from tests.fakes.guests import MINIMAL_RUN, make_plugin

pytestmark = pytest.mark.usefixtures("restored_imports")

HEAD = "from fastapi import APIRouter\nrouter = APIRouter()\n"
INFO = 'PLUGIN_INFO = {"version": "1", "author": "Ada"}\n'
PLUGIN = "class Plugin:\n    run = None\n"


def load(tmp_path, files, **settings):
    settings = make_plugin(tmp_path, files, **settings)
    return contracts.load(settings, contracts.prepare(settings))


def errors_of(tmp_path, files, **settings):
    with pytest.raises(StartFailedError) as raised:
        load(tmp_path, files, **settings)
    return raised.value.errors


def test_a_minimal_plugin_gets_the_defaults(tmp_path):
    """name is the folder's, Api_prefix not there, trigger 1."""
    loaded = load(tmp_path, {"run.py": MINIMAL_RUN})
    assert loaded.info == seed.PluginInfo("hello", "1.2.3", "Ada", "", [], 1)


def test_every_key_is_read(tmp_path):
    """All keys of the founding system; others are the author's own."""
    info = """PLUGIN_INFO = {"name": "Hello!", "version": "2", "author": "Bob", "Api_prefix": "/app/hi",
    "tag_for_identified": ["a", "b"], "trigger": 3, "homepage": None}\n"""
    loaded = load(tmp_path, {"run.py": HEAD + info + PLUGIN})
    assert loaded.info == seed.PluginInfo("Hello!", "2", "Bob", "/app/hi", ["a", "b"], 3)


def test_a_plugin_may_define_all_in_init_and_import_it_in_run(tmp_path):
    """LibraryHub did."""
    files = {"__init__.py": HEAD + INFO + PLUGIN, "run.py": "from plugins.hello import PLUGIN_INFO, Plugin, router\n"}
    assert load(tmp_path, files).info.author == "Ada"


@pytest.mark.parametrize(
    ("code", "problem", "hint"),
    [
        (HEAD + PLUGIN, "PLUGIN_INFO is missing", "PLUGIN_INFO = {"),
        (HEAD + PLUGIN + "PLUGIN_INFO = []\n", "PLUGIN_INFO is of type list, not a dict", "PLUGIN_INFO = {"),
        (HEAD + PLUGIN + 'PLUGIN_INFO = {"author": "A"}\n', "has no 'version'", '"version": "0.1.0"'),
        (HEAD + PLUGIN + 'PLUGIN_INFO = {"version": "1"}\n', "has no 'author'", '"author": '),
        (
            HEAD + PLUGIN + 'PLUGIN_INFO = {"author": "A", "version": 1.0}\n',
            "'version' is of type float",
            '"version": "',
        ),
        (HEAD + PLUGIN + INFO + "PLUGIN_INFO['Api_prefix'] = None\n", "'Api_prefix' is None", '"/app/hello"'),
        (HEAD + PLUGIN + INFO + "PLUGIN_INFO['tag_for_identified'] = 'x'\n", "is of type str, not a list", '["hello"]'),
        (HEAD + PLUGIN + INFO + "PLUGIN_INFO['tag_for_identified'] = [1]\n", "something else than str", '["hello"]'),
        (HEAD + PLUGIN + INFO + "PLUGIN_INFO['trigger'] = True\n", "'trigger' is of type bool", '"trigger": 1'),
        (HEAD + INFO, "class Plugin is missing", "class Plugin with a method: def run(self)"),
        (HEAD + INFO + "Plugin = 1\n", "Plugin is of type int, not a class", "class Plugin with a method"),
        (HEAD + INFO + "class Plugin: ...\n", "class Plugin has no attribute run", "def run(self)"),
        (INFO + PLUGIN, "router is missing", "router = APIRouter()"),
        (INFO + PLUGIN + "router = object()\n", "router is of type object", "router = APIRouter()"),
    ],
)
def test_a_breach_names_plugin_file_and_key_and_says_what_to_write(tmp_path, code, problem, hint):
    """An author mends it from the message alone; nothing but an edit can heal it."""
    (error,) = errors_of(tmp_path, {"run.py": code})
    assert error.message.startswith("cannot load plugin 'hello': run.py: ")
    assert problem in error.message
    assert hint in error.hint
    assert "\n" not in error.hint  # a log and the command line print it as "\\n"
    assert error.permanent
    assert error.phase == "manifest"
    assert re.fullmatch(r"run\.py(:\d+)?", error.location)


def test_a_breach_names_the_line_that_says_it_and_shows_it(tmp_path):
    """An author sees what is meant without opening the file."""
    code = HEAD + INFO + "\nclass Plugin: ...\n"
    line = code.splitlines().index("class Plugin: ...") + 1
    (error,) = errors_of(tmp_path, {"run.py": code})
    assert error.location == f"run.py:{line}"
    assert f">{line:5} | class Plugin: ..." in error.excerpt


def test_a_breach_that_no_line_says_has_none(tmp_path):
    """What is missing is nowhere."""
    (missing,) = errors_of(tmp_path, {"run.py": INFO + PLUGIN})
    assert (missing.location, missing.excerpt) == ("run.py", [])


def test_all_breaches_are_told_at_once(tmp_path):
    """Mending one after the other would take as many reloads."""
    code = "PLUGIN_INFO = {'version': 1}\nrouter = None\n"
    assert len(errors_of(tmp_path, {"run.py": code})) == 4


def test_a_missing_run_py_is_named(tmp_path):
    """Most folders without one are not finished yet."""
    (error,) = errors_of(tmp_path, {"__init__.py": ""})
    assert "run.py: the file is missing" in error.message
    assert error.permanent


@pytest.mark.parametrize("module", ["main", "run"])
def test_a_bare_app_is_pointed_to_the_other_contract(tmp_path, module):
    """Who knows FastAPI writes main.py, or an app into run.py, and has never heard of a router in its place."""
    *_, error = errors_of(tmp_path, {f"{module}.py": "from fastapi import FastAPI\napp = FastAPI()\n"})
    assert f'write app = "{module}:app" under [tool.xcore] in pyproject.toml' in error.hint


def test_a_router_that_was_forgotten_is_no_app(tmp_path):
    """The other contract would only distract."""
    (router,) = errors_of(tmp_path, {"run.py": INFO + PLUGIN})
    assert "tool.xcore" not in router.hint


def test_without_fastapi_the_hint_says_how_to_add_it(tmp_path, monkeypatch):
    """The plugin's own environment must have it."""
    settings = make_plugin(tmp_path, {"run.py": INFO + PLUGIN + "router = 1\n"})
    report = contracts.prepare(settings)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(StartFailedError) as raised:
        seed.load(settings, report)
    assert raised.value.errors[0].hint.startswith('add "fastapi" to dependencies in the plugin\'s pyproject.toml, or ')


@pytest.mark.parametrize(
    ("prefix", "router_prefix", "expected"),
    [
        ("/app/hello", "/app/hello", ""),
        ("/app/hello", "/app/hello/v1", ""),
        ("/app/hello", "/hello", "/app"),
        ("/app/hello", "", "/app/hello"),
        ("/app/hello", "/app/helloworld", "/app/hello"),
        ("/app/hello", "/v1", "/app/hello"),
        ("/app/hello", "/ello", "/app/hello"),
        ("/app/todo", "/app", "/app/todo"),
        ("", "/anything", ""),
        ("", "", ""),
    ],
)
def test_the_public_path_lies_under_the_prefix(prefix, router_prefix, expected):
    """Equal or below: as is. A tail: the same as equal. Otherwise: below it. By segment, never by letter."""
    assert seed.include_prefix(prefix, router_prefix) == expected


@pytest.mark.parametrize(
    ("router_prefix", "prefix", "path"),
    [
        ("/app/hello", "/app/hello", "/app/hello/x"),
        ("/app/hello/v1", "/app/hello", "/app/hello/v1/x"),
        ("/hello", "/app/hello", "/app/hello/x"),
        ("", "/app/hello", "/app/hello/x"),
        ("/api", "/app/hello", "/app/hello/api/x"),
        ("/api", "/", "/api/x"),
    ],
)
def test_a_route_is_served_and_finds_itself_at_its_public_path(tmp_path, router_prefix, prefix, path):
    """url_for, the request's own URL and the schema agree with the address in the browser."""
    code = f"""
from fastapi import APIRouter, Request
router = APIRouter(prefix="{router_prefix}")

@router.get("/x")
def x(request: Request):
    return [str(request.url_for("x")), str(request.url)]
"""
    served = load(tmp_path, {"run.py": code + INFO + PLUGIN}, prefix=prefix).served
    url = f"http://testserver{path}"
    assert asyncio.run(get(served, path)) == (200, [url, url])
    assert list(served.schema()["paths"]) == [path[len(prefix.rstrip("/")) :]]
    assert served.schema()["info"] == {"title": "hello", "version": "1"}


def test_the_prefix_itself_is_served_with_and_without_slash(tmp_path):
    """A route at "" is the prefix exactly; one at "/" is redirected to."""
    code = HEAD.replace("()", '(prefix="/app/hello")') + INFO + PLUGIN
    served = load(tmp_path, {"run.py": code + '@router.get("")\ndef root(): return 1\n'}).served
    assert asyncio.run(get(served, "/app/hello")) == (200, 1)


def test_an_error_while_the_app_is_built_is_the_plugins(tmp_path):
    """FastAPI refuses a route that has no path at all."""
    code = HEAD + INFO + PLUGIN + '@router.get("")\ndef root(): return 1\n'
    (error,) = errors_of(tmp_path, {"run.py": code}, prefix="/")
    assert "Prefix and path cannot be both empty" in error.message


def test_the_plugin_class_is_not_instantiated(tmp_path):
    """Its constructor is the author's business; the contract asks for the attribute only."""
    code = HEAD + INFO + "class Plugin:\n    def __init__(self): raise ValueError\n    def run(self): ...\n"
    assert load(tmp_path, {"run.py": code}).info.version == "1"
    assert importlib.import_module("plugins.hello.run").Plugin.run


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("", None),
        ("    concured = None\n", None),
        ("    def concured(self): return type(self).__name__\n", "Plugin"),
        ("    @classmethod\n    def concured(cls): return cls.__name__\n", "Plugin"),
        ("    def __init__(self): raise ValueError\n    @staticmethod\n    def concured(): return 1\n", 1),
    ],
    ids=["none", "None", "method", "classmethod", "staticmethod"],
)
def test_concured_is_bound_when_it_is_wanted(tmp_path, code, found):
    """A method gets an instance, made in the process that runs it; what needs none gets none."""
    loaded = load(tmp_path, {"run.py": HEAD + INFO + PLUGIN + code})
    assert (loaded.find_concured and loaded.find_concured()()) == found


def test_concured_that_is_no_function_is_a_breach(tmp_path):
    """Said before it is served, not when it would have begun."""
    (error,) = errors_of(tmp_path, {"run.py": HEAD + INFO + PLUGIN + "    concured = 5\n"})
    assert "Plugin.concured is of type int, not a function" in error.message
    assert error.hint == "write: async def concured(self): ..."
