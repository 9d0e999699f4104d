"""The modules of the founding system's host: who finds them, and whom they let in."""

import importlib
import sys
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from plugin_runtime import shims, sources
from plugin_runtime.sources import SourceFolders
from tests.fakes.guests import write_files

pytestmark = pytest.mark.usefixtures("restored_imports")

ADA = {"id": "7", "email": "ada@example.org", "role": "user"}


def told(app, user):
    """What the gateway says of every request."""

    async def outer(scope, receive, send):
        await app({**scope, "state": {"xcore": {"user": user, "request_id": "r1"}}}, receive, send)

    return outer


@pytest.fixture
def app():
    shims.install()
    auth = importlib.import_module("auth.dependencies")
    admin = importlib.import_module("admin.dependencies")
    app = FastAPI()

    @app.get("/me")
    async def me(user: Annotated[shims.User, Depends(auth.get_current_user)]):
        return [user, user.id, user["email"], user.role, user.get("name")]

    @app.get("/require_admin")
    def admins(user: Annotated[dict, Depends(admin.require_admin)]):
        return user["role"]

    @app.get("/require_superuser", dependencies=[Depends(admin.require_superuser)])
    def superusers():
        return "yes"

    @app.get("/unknown")
    async def unknown(user: Annotated[shims.User, Depends(auth.get_current_user)]):
        return user.username

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, user: Annotated[dict, Depends(admin.require_admin)]):
        await websocket.accept()
        await websocket.send_json(user)
        await websocket.close()

    return app


def get(app, path, user):
    return TestClient(told(app, user)).get(path)


def test_the_user_is_read_by_key_and_by_attribute(app):
    """The founding system's plugins do either."""
    assert get(app, "/me", ADA).json() == [ADA, "7", "ada@example.org", "user", None]


def test_a_token_has_no_email(app):
    """It is nobody's; what is not known is None, and no error."""
    token = {"id": None, "email": None, "role": "admin"}
    assert get(app, "/me", token).json() == [token, None, None, "admin", None]


def test_what_the_gateway_does_not_tell_is_named(app):
    """The old user may have had more; the message says what there is."""
    with pytest.raises(AttributeError, match=r"cannot read 'username' of the user: the gateway tells id, email, role"):
        get(app, "/unknown", ADA)


@pytest.mark.parametrize("path", ["/me", "/require_admin", "/require_superuser"])
def test_nobody_is_401(app, path):
    """With the header that tells clients how to come back."""
    answer = get(app, path, None)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "valid token" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/require_admin", "/require_superuser"])
@pytest.mark.parametrize("role", ["user", "admin", "root", "superadmin"])
def test_roles_open_what_they_always_opened(app, path, role):
    """admin = {root, admin, superadmin}, superuser = superadmin."""
    wanted = {"/require_admin": {"admin", "root", "superadmin"}, "/require_superuser": {"superadmin"}}[path]
    answer = get(app, path, {**ADA, "role": role})
    assert answer.status_code == (200 if role in wanted else 403)
    if role not in wanted:
        assert answer.json()["detail"] == f"this needs role {' or '.join(sorted(wanted))}, not {role}"


def test_a_request_that_no_gateway_sent_is_nobodys(app):
    """A test client, say."""
    assert TestClient(app).get("/me").status_code == 401


@pytest.mark.parametrize("user", [None, ADA])
def test_a_websocket_is_refused_before_it_opens(app, user):
    """Authorisation is as for HTTP."""
    with pytest.raises(WebSocketDisconnect) as refused, TestClient(told(app, user)).websocket_connect("/socket"):
        pass
    assert refused.value.code == 1008


def test_a_websocket_has_its_user(app):
    """From the same scope."""
    with TestClient(told(app, {**ADA, "role": "root"})).websocket_connect("/socket") as socket:
        assert socket.receive_json()["role"] == "root"


def test_openapi_shows_a_bearer_scheme(app):
    """So that /docs asks for the token."""
    document = app.openapi()
    ((name, scheme),) = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert [document["paths"][path]["get"]["security"] for path in ("/me", "/require_superuser")] == [[{name: []}]] * 2
    assert "parameters" not in document["paths"]["/me"]["get"]


def install(tmp_path, contract):
    folder = str(write_files(tmp_path / "plugins" / "hello", {"run.py": ""}))
    sources.install_plugin("hello", SourceFolders(folder, folder), contract)


def test_an_app_has_no_such_modules(tmp_path):
    """It never lived in the founding system; a package of that name that is missing is to be said."""
    install(tmp_path, "app")
    with pytest.raises(ModuleNotFoundError, match="auth"):
        importlib.import_module("auth.dependencies")


def test_a_package_of_the_plugins_own_goes_first(tmp_path, monkeypatch):
    """Installed, or in a folder that it puts on sys.path itself; also one that has no ``dependencies``."""
    install(tmp_path, "seed")
    own = write_files(
        tmp_path / "own", {"auth/__init__.py": "", "admin/__init__.py": "", "admin/dependencies.py": "X = 1"}
    )
    monkeypatch.syspath_prepend(own)
    assert importlib.import_module("admin.dependencies").X == 1
    with pytest.raises(ModuleNotFoundError, match="dependencies"):
        importlib.import_module("auth.dependencies")


def test_modules_that_the_host_does_not_have_are_missing(tmp_path):
    """The rest of the old packages is not there, and says so."""
    install(tmp_path, "seed")
    assert importlib.import_module("auth.dependencies").get_current_user
    with pytest.raises(ModuleNotFoundError, match=r"auth\.models"):
        importlib.import_module("auth.models")
    with pytest.raises(ImportError, match="require_login"):
        exec("from auth.dependencies import require_login", {})


def test_fastapi_is_imported_with_the_modules_only():
    """The guest itself does without."""
    finder = shims.ShimFinder()
    assert finder.find_spec("fastapi") is None
    assert "fastapi" not in vars(sys.modules["plugin_runtime.shims"])
