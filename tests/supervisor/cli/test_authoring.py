"""``xcore plugin new`` and ``check`` as an author meets them; what a check finds is played here."""

import ast
import dataclasses
import itertools
import json
import pwd
import tomllib
from types import SimpleNamespace

import pytest

from plugin_runtime.views import PluginError
from supervisor import rehearsal
from supervisor.cli.scaffold import TEMPLATES, NewPlugin, PluginTemplate
from supervisor.config.source import load
from supervisor.environments.progress import BuildProgress
from supervisor.plugins.written_prefixes import written_prefixes
from supervisor.preparation.manifest import parse_manifest
from supervisor.rehearsal import Verdict
from tests.source_code import ROOT

MADE = {
    "router": ["plugins/my-shop/pyproject.toml", "plugins/my-shop/run.py"],
    "app": ["plugins/my-shop/main.py", "plugins/my-shop/pyproject.toml"],
    "page": [
        "plugins/my-shop/main.py",
        "plugins/my-shop/pyproject.toml",
        "plugins/my-shop/static/page.css",
        "plugins/my-shop/templates/page.html",
    ],
    "task": ["plugins/my-shop/pyproject.toml", "plugins/my-shop/run.py", "backgroundtask/my-shop_task.py"],
}


# --- new ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", list(PluginTemplate))
def test_a_template_makes_these_files_and_says_where_they_are_served(xcore, project, template):
    """Nothing is asked, and a name need be no identifier."""
    outcome = xcore("plugin", "new", "my-shop", "--template", template.value)
    prefix = "/app/my-shop" if template.value in {"router", "task"} else "/my-shop"
    *made, last = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert made == [f"made {path}" for path in MADE[template.value]]
    assert last.startswith("Run it: ")
    assert last.endswith(f"xcore up; then it is served at http://127.0.0.1:8082{prefix}/")
    there = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert there == {"config.json", *MADE[template.value]}
    assert written_prefixes(load(project / "config.json", {})) == {"my-shop": prefix}


@pytest.mark.parametrize(
    ("name", "template"),
    [
        *itertools.product(["my-shop", "it's", "a$name", "läden", "o&o"], ["router", "app", "page"]),
        ("x.y", "app"),
        ("x.y", "page"),
    ],
)
def test_what_is_made_is_valid_whatever_the_name(xcore, project, name, template):
    """A name may hold whatever a URL path may; nothing of it is taken for a placeholder, or ends a string."""
    assert xcore("plugin", "new", name, "--template", template).code == 0
    folder = project / "plugins" / name
    document = tomllib.loads((folder / "pyproject.toml").read_text())
    manifest = parse_manifest(name, (folder / "pyproject.toml").read_text(), {})
    code = (folder / (manifest.app or "run:").replace(":app", ".py").replace(":", ".py")).read_text()
    assert document["project"]["name"] in {name, "plugin"}
    assert name in ast.get_docstring(ast.parse(code))
    assert name in written_prefixes(load(project / "config.json", {}))[name]


def test_the_author_is_whoever_makes_it(xcore, project, monkeypatch):
    """Quotes in a name, and no name at all, as in a container that was started with any user."""
    known = SimpleNamespace(pw_gecos='Ada "Countess",room 1', pw_name="ada")
    for user, author in ((known, 'Ada "Countess"'), (SimpleNamespace(pw_gecos="", pw_name="bob"), "bob")):
        monkeypatch.setattr(pwd, "getpwuid", lambda _uid, user=user: user)
        files = NewPlugin("shop", PluginTemplate.APP).files()
        assert tomllib.loads(files["pyproject.toml"])["project"]["authors"] == [{"name": author}]

    def unknown(_uid):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert '"author": "you"' in NewPlugin("shop", PluginTemplate.ROUTER).files()["run.py"]


def test_with_json_it_tells_what_it_made(xcore, project):
    """One document, paths in full."""
    outcome = xcore("plugin", "new", "shop", "--template", "task", "--json")
    paths = ["plugins/shop/pyproject.toml", "plugins/shop/run.py", "backgroundtask/shop_task.py"]
    assert json.loads(outcome.out) == {
        "name": "shop",
        "template": "task",
        "prefix": "/app/shop",
        "url": "http://127.0.0.1:8082/app/shop/",
        "task": "shop_task",
        "made": [str(project / path) for path in paths],
        "disabled": False,
    }


def test_a_running_xcore_is_named_with_its_real_address(xcore, project):
    """The port of the configuration may be 0, or changed since."""
    (project / "config.json").write_text('{"gateway": {"port": 0}}')
    assert json.loads(xcore("plugin", "new", "one", "--json").out)["url"] == "/app/one/"
    run = project / ".xcore" / "run"
    run.mkdir(parents=True)
    (run / "gateway.json").write_text('{"url": "http://127.0.0.1:4711"}')
    out = xcore("plugin", "new", "two").out
    assert "xcore finds it while it runs; then it is served at http://127.0.0.1:4711/app/two/\n" in out


def test_a_name_that_is_disabled_is_told_with_how_to_enable_it(xcore, project, supervisor):
    """One that was removed once stays disabled: it would be waited for in vain."""
    (project / ".xcore" / "run" / "gateway.json").write_text('{"url": "http://127.0.0.1:4711"}')
    supervisor.answers["plugins.list"] = [{"name": "shop", "active": False}, {"name": "blog", "active": True}]
    last = xcore("plugin", "new", "shop").out.splitlines()[-1]
    assert last.startswith("A plugin of that name was disabled, and stays so. Enable it: ")
    assert last.endswith("xcore plugin enable shop; then it is served at http://127.0.0.1:4711/app/shop/")
    assert json.loads(xcore("plugin", "new", "shop2", "--json").out)["disabled"] is False
    assert "xcore finds it while it runs" in xcore("plugin", "new", "cart").out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["a/b"], "its name holds a slash"),
        ([".shop"], "its name starts with '.'"),
        (["gateway"], "reserved for xcore's own"),
        (["shop.v2"], "a plugin with a run.py is imported by its name, and it has a dot"),
        (["a b"], "' ' is not allowed in it"),
        (["admin", "--template", "app"], "prefix '/admin' is reserved"),
        (["2nd", "--template", "task"], "cannot have a task '2nd_task'"),
        (["taken"], "prefix '/app/taken' belongs to plugin 'owner'"),
        (["owner"], "plugins/owner is there already"),
        (["link"], "plugins/link is there already"),
        (["done", "--template", "task"], "backgroundtask/done_task.py is there already"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_made(xcore, project, arguments, problem):
    """One line: what, why, and what to do."""
    (project / "plugins" / "owner").mkdir(parents=True)
    (project / "plugins" / "owner" / "run.py").write_text('PLUGIN_INFO = {"Api_prefix": "/app/taken"}')
    (project / "plugins" / "link").symlink_to("nowhere")
    (project / "backgroundtask").mkdir()
    (project / "backgroundtask" / "done_task.py").write_text("mine")
    before = sorted(project.rglob("*"))
    outcome = xcore("plugin", "new", *arguments)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert problem in outcome.err
    assert "choose another name" in outcome.err
    assert sorted(project.rglob("*")) == before
    assert (project / "backgroundtask" / "done_task.py").read_text() == "mine"


def test_a_directory_that_cannot_be_written_is_one_error(xcore, project):
    """And nothing half made is left."""
    (project / "plugins").write_text("a file")
    outcome = xcore("plugin", "new", "shop")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert "cannot make plugin 'shop'" in outcome.err


def test_an_unknown_template_is_wrong_use(xcore, project):
    """The known ones are named."""
    outcome = xcore("plugin", "new", "shop", "--template", "flask")
    assert outcome.code == 2
    assert all(template in outcome.err for template in MADE)


def test_every_template_file_is_in_the_package():
    """Files without the suffix would not be found, and those beside the templates belong to none."""
    files = {path for path in TEMPLATES.rglob("*") if path.is_file()}
    assert files
    assert {path.suffix for path in files} == {".template"}
    assert {path.relative_to(TEMPLATES).parts[0] for path in files} == {*MADE, "project"}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["poetry"]["packages"]
    assert {"include": "supervisor"} in packages


# --- check -------------------------------------------------------------------------------------------------------

WRONG = PluginError(
    "import",
    "ImportError",
    "no flask\x1b[2J",
    hint="add it",
    location="run.py:2",
    traceback="File\nError",
    log_tail=["x"],
)


@pytest.fixture
def check(xcore, project, monkeypatch):
    """Run ``xcore plugin check`` where these problems are found."""

    def check(*arguments, **verdict):
        def rehearse(candidate, _configuration, on_progress, *, install):
            check.candidate, check.install = candidate, install
            on_progress(BuildProgress("building\x1b[2J"))
            return Verdict(**verdict)

        monkeypatch.setattr(rehearsal, "rehearse", rehearse)
        return xcore("plugin", "check", *arguments)

    for name in ("plugins/shop", "plugins/blog", "shop", "elsewhere/cart"):
        (project / name).mkdir(parents=True)
    return check


def test_what_would_be_served_ends_with_0(check):
    """BuildProgress goes to stderr, and nothing that an installer prints moves the cursor."""
    outcome = check("shop", prefix="/app/shop", python="3.11.7 at /bin/python")
    assert outcome == (
        0,
        "shop: ok, it would be served under /app/shop with Python 3.11.7 at /bin/python\n",
        "building\\x1b[2J\n",
    )
    assert check.install


def test_every_problem_is_told_with_what_to_do_and_where(check):
    """In the words of ``plugin show``; exit code 1."""
    other = PluginError("manifest", "PluginInvalid", "unknown key", hint="did you mean 'app'?")
    outcome = check("shop", "--no-install", problems=[other, WRONG], skipped=["environment", "code"])
    assert (outcome.code, check.install) == (1, False)
    assert outcome.out.splitlines() == [
        "error:      manifest: unknown key",
        "            did you mean 'app'?",
        "error:      import: no flask\\x1b[2J",
        "            add it",
        "where:      run.py:2",
        "traceback:  File",
        "            Error",
        "last lines: x",
        "not looked at: environment, code",
        "shop: problems: 2",
    ]


def test_the_line_that_is_wrong_is_shown_and_last_lines_once(check):
    """What a process printed is told with each of its errors, and holds the tracebacks of all of them."""
    tail = ["a hint", "File", "Error", "File 2"]
    first = dataclasses.replace(WRONG, hint="add it\nor not", excerpt=[">    2 | import flask"], log_tail=tail)
    second = dataclasses.replace(WRONG, location="", traceback="File 2", log_tail=tail)
    third = dataclasses.replace(WRONG, location="", traceback="", log_tail=["else"], problems=["one", "two"])
    assert check("shop", problems=[first, second, third]).out.splitlines() == [
        "error:      import: no flask\\x1b[2J",
        "            add it",
        "            or not",
        "where:      run.py:2",
        "            >    2 | import flask",
        "traceback:  File",
        "            Error",
        "error:      import: no flask\\x1b[2J",
        "            add it",
        "traceback:  File 2",
        "last lines: a hint",
        "error:      import: one",
        "            two",
        "last lines: else",
        "shop: problems: 3",
    ]


def test_with_json_it_is_one_document(check, project):
    """As docs/reference/cli.md has it."""
    outcome = check("shop", "--json", contract="seed", problems=[WRONG])
    assert outcome.code == 1
    document = json.loads(outcome.out)
    assert document == {
        "ok": False,
        "name": "shop",
        "folder": str(project / "plugins" / "shop"),
        "contract": "seed",
        "prefix": "",
        "python": "",
        "problems": [dataclasses.asdict(WRONG)],
        "skipped": [],
    }


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("shop", "plugins/shop"),
        ("./shop", "shop"),
        ("shop/", "shop"),
        ("elsewhere/cart", "elsewhere/cart"),
        ("elsewhere/../elsewhere/cart/", "elsewhere/cart"),
        ("elsewhere/cart/..", "elsewhere"),
    ],
)
def test_a_name_is_a_plugins_and_a_path_any_folder(check, project, path, folder):
    """A plugin is called like its folder, however that is written."""
    assert check(path).code == 0
    assert (check.candidate.folder, check.candidate.name) == (project / folder, folder.rpartition("/")[2])


@pytest.mark.parametrize("path", ["nowhere", "config.json", "elsewhere/nothing"])
def test_what_is_no_folder_is_one_error(check, path):
    """There is nothing to look at."""
    outcome = check(path)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert "name a plugin's folder, or a plugin in" in outcome.err


def test_a_name_that_is_no_text_harms_nobody(check, project):
    """File names are bytes."""
    (project / "plugins" / "sh\udcffop").mkdir()
    assert json.loads(check("plugins/sh\udcffop", "--json").out)["name"] == "sh\\xffop"


def test_prefixes_of_others_are_those_of_a_running_supervisor(check, project, supervisor):
    """It knows what they really claim, and which of them are disabled."""
    for name in ("shop", "blog"):
        (project / "plugins" / name / "run.py").write_text("PLUGIN_INFO = {}")
    views = [
        {"name": "shop", "prefix": "", "active": False},
        {"name": "blog", "prefix": "", "active": True},
        {"name": "computed", "prefix": "/computed", "active": True},
    ]
    supervisor.answers["plugins.list"] = views
    check("elsewhere/cart")
    assert check.candidate.claimed == {"blog": "/app/blog", "computed": "/computed"}


def test_without_a_supervisor_prefixes_are_those_that_are_written(check, project):
    """As far as files say so."""
    (project / "plugins" / "blog" / "run.py").write_text("PLUGIN_INFO = {}")
    check("shop")
    assert check.candidate.claimed == {"blog": "/app/blog"}
