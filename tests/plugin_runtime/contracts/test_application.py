"""Any app, whatever it is called with and whoever makes it."""

import asyncio
import sys
import types

import pytest

from plugin_runtime import contracts
from plugin_runtime.contracts.application import AppKind, kind_of
from plugin_runtime.failure import StartFailedError
from tests.fakes.asgi import get
from tests.fakes.guests import make_plugin

pytestmark = pytest.mark.usefixtures("restored_imports")

ASGI = """
import json

async def answer(scope, send):
    body = json.dumps([scope["path"], scope["root_path"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

async def app(scope, receive, send):
    await answer(scope, send)

class Legacy:
    def __init__(self, scope):
        self.scope = scope
    async def __call__(self, receive, send):
        await answer(self.scope, send)

class Methods:
    async def __call__(self, scope, receive, send):
        await answer(scope, send)

def create_app(config=None):
    return Methods()

def endless():
    return endless

def broken_factory():
    raise ValueError("no configuration")

async def async_factory():
    return app

def not_an_app(a, b, c, d, e): ...

number = 3
"""


def load(tmp_path, files, entry="main:app", **settings):
    settings = {"plugin": "shop", "prefix": "/shop", **settings}
    settings = make_plugin(tmp_path, files, contract="app", entry=entry, **settings)
    return contracts.load(settings, contracts.prepare(settings)).served


def error_of(tmp_path, files, entry="main:app"):
    with pytest.raises(StartFailedError) as raised:
        load(tmp_path, files, entry)
    (error,) = raised.value.errors
    return error


@pytest.mark.parametrize("name", ["app", "Legacy", "create_app", "Methods", "holder.inner.app"])
def test_every_kind_of_app_is_called_with_the_scope_of_the_specification(tmp_path, name):
    """Full path and the prefix as root_path, for functions, objects, factories, classes and old two-step apps."""
    code = ASGI + "import types\nholder = types.SimpleNamespace(inner=types.SimpleNamespace(app=app))\n"
    served = load(tmp_path, {"main.py": code}, f"main:{name}")
    assert asyncio.run(get(served, "/shop/x")) == (200, ["/shop/x", "/shop"])


def test_stripped_paths_can_be_asked_for(tmp_path):
    """The manifest's word goes before what the framework would need."""
    served = load(tmp_path, {"main.py": ASGI}, path_mode="stripped")
    assert asyncio.run(get(served, "/shop/x")) == (200, ["/x", "/shop"])


def wsgi(environ, start_response): ...


async def asgi(scope, receive, send): ...


async def two(receive, send): ...


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (asgi, AppKind.ASGI3),
        (wsgi, AppKind.WSGI),
        (lambda scope: None, AppKind.ASGI2),
        (lambda: None, AppKind.FACTORY),
        (lambda config=None: None, AppKind.FACTORY),
        (lambda *args: None, AppKind.ASGI3),
        (types.SimpleNamespace, AppKind.ASGI3),
        (two, AppKind.UNUSABLE),
        (7, AppKind.UNUSABLE),
        (lambda a, b, c, d: None, AppKind.UNUSABLE),
    ],
)
def test_apps_are_told_apart_by_their_arguments(target, kind):
    """What has a signature is judged by it; what has none is taken for the common case."""
    assert kind_of(target) is kind


def test_a_fastapi_app_names_its_framework_and_its_schema(tmp_path):
    """Paths of the schema are below the prefix already."""
    code = "from fastapi import FastAPI\napp = FastAPI()\n@app.get('/x')\ndef x(): return 1\n"
    served = load(tmp_path, {"main.py": code})
    assert served.framework.startswith("fastapi 0.")
    assert list(served.schema()["paths"]) == ["/x"]
    assert asyncio.run(get(served, "/shop/x")) == (200, 1)


def test_an_app_that_hides_its_schema_keeps_it_hidden(tmp_path):
    """openapi_url=None is a decision of its author."""
    served = load(tmp_path, {"main.py": "from fastapi import FastAPI\napp = FastAPI(openapi_url=None)\n"})
    assert served.schema is None


@pytest.mark.parametrize(("version", "mode"), [("0.26.1", "stripped"), ("0.33.0", "full"), ("1.10.0", "full")])
def test_old_starlette_gets_stripped_paths(tmp_path, monkeypatch, version, mode):
    """Before 0.33 it answers 404 to a full path; also where middleware is around it."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    code = """
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
app = GZipMiddleware(Starlette())
"""
    assert load(tmp_path, {"main.py": code}).path_mode == mode


def test_a_wsgi_app_is_wrapped(tmp_path, monkeypatch):
    """By a2wsgi, from the guest's own packages."""
    a2wsgi = types.ModuleType("a2wsgi")
    a2wsgi.WSGIMiddleware = lambda app: ("wrapped", app)
    monkeypatch.setitem(sys.modules, "a2wsgi", a2wsgi)
    served = load(tmp_path, {"main.py": "def app(environ, start_response): ...\n"})
    assert served.app[0] == "wrapped"
    assert served.framework == "wsgi"


def test_without_a2wsgi_the_hint_says_what_to_add(tmp_path, monkeypatch):
    """A damaged runtime folder must not look like a broken plugin."""
    monkeypatch.setitem(sys.modules, "a2wsgi", None)
    error = error_of(tmp_path, {"main.py": "def app(environ, start_response): ...\n"})
    assert error.hint.startswith('add "a2wsgi" to dependencies in the plugin\'s pyproject.toml, or ')


@pytest.mark.parametrize(
    ("entry", "problem", "hint"),
    [
        ("main", "not of the form module:attribute", 'app = "main:app"'),
        ("mian:app", "there is no module 'mian'", "make mian.py"),
        ("main.deep:app", "there is no module 'main.deep'", "make main/deep.py"),
        ("main:create_ap", "no attribute 'create_ap'", "create_app"),
        ("main:zzz", "no attribute 'zzz'", "define zzz in main"),
        ("main:number", "int is neither an app nor makes one", "(scope, receive, send)"),
        ("main:not_an_app", "neither an app nor makes one", "(scope, receive, send)"),
        ("main:endless", "neither an app nor makes one", "(scope, receive, send)"),
        ("main:async_factory", "neither an app nor makes one", "without arguments"),
    ],
)
def test_what_is_no_app_is_told_with_what_to_do(tmp_path, entry, problem, hint):
    """The manifest's own words are in the message."""
    error = error_of(tmp_path, {"main.py": ASGI}, entry)
    assert error.message.startswith(f"cannot load plugin 'shop': app = {entry!r}: ")
    assert problem in error.message
    assert hint in error.hint
    assert error.permanent


def test_a_factory_that_raises_is_reported_with_its_line(tmp_path):
    """It is the plugin's code like any other."""
    error = error_of(tmp_path, {"main.py": ASGI}, "main:broken_factory")
    assert (error.phase, error.type) == ("import", "ValueError")
    assert error.location.startswith("main.py:")
    assert not error.permanent


def test_a_missing_part_of_the_apps_own_package_is_not_to_be_installed(tmp_path):
    """poetry add shop would bring a stranger's package."""
    error = error_of(tmp_path, {"main.py": "import shop.prices\n", "shop/__init__.py": ""})
    assert error.hint == "make shop/prices.py in the folder of the plugin, or correct the import"
