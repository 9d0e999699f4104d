"""Claims on the URL space, and names of folders, as the whole system handles them."""

from collections.abc import Iterator

import pytest

from tests.integration.project import Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

SEED = """
from fastapi import APIRouter

PLUGIN_INFO = {"version": "1.0.0", "author": "tests", "Api_prefix": %r}
router = APIRouter(prefix=%r)


@router.get("/where")
def where():
    return __name__


class Plugin:
    def run(self): ...
"""

BAD_NAMES = ("-rf", "new\nline", "x" * 201, "cafe\u0301", "\u202eevil")
"""A leading dash, a line feed, too long, not normalised, invisible."""
LITERAL_NAMES = ("with space", "$(touch pwned)", "caf\u00e9", ";rm -rf ~", "'quoted\"", "%2e%2e")


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.add_app("owner", "workbench", prefix="/a")
    shared_project.add_app("nested", "workbench", prefix="/a/b")
    shared_project.up()
    shared_project.stop()
    shared_project.add_app("newcomer", "workbench", prefix="/a/")
    shared_project.add_app("usurper", "workbench", prefix="/admin/plugins")
    shared_project.add_app("dotted", "workbench", prefix="/x/../a")
    shared_project.add_app("encoded", "workbench", prefix="/x/%2e%2e")
    shared_project.add_app("empty", "workbench", prefix="")
    shared_project.add_app("other-case", "workbench", prefix="/A")
    shared_project.add_app("rest", "workbench", prefix="/")
    shared_project.add_run_py("todo", SEED % ("/app/todo", "/todo"))
    for name in (*BAD_NAMES, *LITERAL_NAMES):
        shared_project.add_app(name, "workbench", prefix=f"/n/{abs(hash(name))}")
    for name in (".hidden", "__pycache__"):
        (shared_project.plugins / name).mkdir()
    shared_project.expect_log("plugin .* refused")
    return shared_project.up()


def state(system: Project, name: str) -> str:
    return system.health()["plugins"][name]["state"]


def test_a_prefix_that_is_taken_is_refused_to_the_newcomer(system):
    """The owner keeps serving, and the error names it; claims are compared in their normal form."""
    assert state(system, "newcomer") == "refused"
    error = system.plugin("newcomer")["error"]
    assert "'/a' belongs to plugin 'owner'" in error["message"]
    assert "plugin 'newcomer' refused" in system.log
    assert system.http.get("/a/pid").json() == system.pid("owner")
    assert system.http.get("/health").json()["status"] == "degraded"


@pytest.mark.parametrize(
    ("name", "message"),
    [("usurper", "reserved"), ("dotted", "'..'"), ("encoded", "'%' is not allowed"), ("empty", "empty prefix")],
)
def test_a_prefix_that_nobody_may_have_is_refused(system, name, message):
    """With the reason, and what is ours stays ours."""
    assert state(system, name) == "refused"
    assert message in system.plugin(name)["error"]["message"]
    assert system.http.get("/admin/plugins").status_code == 401


def test_of_nested_prefixes_the_longest_wins(system):
    """By whole segments."""
    assert system.http.get("/a/b/pid").json() == system.pid("nested")
    assert system.http.get("/a/pid").json() == system.pid("owner")
    assert system.http.get("/a/bc").status_code == 404


def test_the_case_of_a_prefix_matters(system):
    """/A is not /a."""
    assert system.http.get("/A/pid").json() == system.pid("other-case")


def test_the_root_takes_what_nobody_else_claims(system):
    """But nothing of ours."""
    assert system.http.get("/pid").json() == system.pid("rest")
    assert system.http.get("/health").json()["plugins"]


def test_a_routers_prefix_that_is_a_tail_of_the_claim_counts_as_equal(system):
    """``/todo`` with ``/app/todo``, as in the founding system."""
    assert system.http.get("/app/todo/where").json() == "plugins.todo.run"


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_folder_with_a_name_that_cannot_be_is_refused_and_shown(system, name):
    """Nothing vanishes silently, and nothing of it is run."""
    assert state(system, name) == "refused"
    assert not system.data(name).exists()


@pytest.mark.parametrize("name", LITERAL_NAMES, ids=ascii)
def test_any_other_name_is_taken_literally(system, name):
    """There is no shell anywhere that could take it for anything else."""
    assert state(system, name) == "running"
    assert system.http.get(f"/n/{abs(hash(name))}/pid").json() > 0
    assert system.data(name).is_dir()
    assert not list(system.folder.rglob("pwned"))


def test_a_name_with_line_feed_makes_no_line_of_its_own_in_the_log(system):
    """Who reads the log must be able to trust its lines."""
    assert not [line for line in system.log.splitlines() if line.startswith("line")]


def test_hidden_folders_are_no_plugins(system):
    """Nor is a cache of bytecode."""
    assert not {".hidden", "__pycache__"} & set(system.health()["plugins"])


def test_the_refused_one_starts_when_the_owner_has_gone(project):
    """The claim of a plugin is not kept for a folder that is not there any more."""
    project.add_app("first", "workbench", prefix="/a")
    project.up()
    project.stop()
    (project.plugins / "first").rename(project.folder / "elsewhere")
    project.add_app("second", "workbench", prefix="/a")
    project.up()
    assert project.http.get("/a/pid").json() == project.pid("second")


def test_of_two_newcomers_one_is_refused_and_the_other_serves(project):
    """Whoever was first; never both, never none."""
    project.expect_log("plugin .* refused")
    for name in ("one", "two"):
        project.add_run_py(name, SEED % ("/both", "/both"))
    project.up()
    states = {name: plugin["state"] for name, plugin in project.health()["plugins"].items()}
    assert sorted(states.values()) == ["refused", "running"]
    served = next(name for name in states if states[name] == "running")
    assert project.http.get("/both/where").json() == f"plugins.{served}.run"
