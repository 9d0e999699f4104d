"""The pages below docs/ as a whole: nothing they point at is missing, and nobody has to guess that a page exists."""

import re
from pathlib import Path

import pytest
import typer

from gateway.admin import exits, health, jobs, plugins, processes, tasks, tokens
from supervisor.cli.main import app
from tests.source_code import CLASSES, PACKAGES, ROOT, modules

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
CONTRACTS = {"seed", "application", "served", "__main__"}
"""Files that the design names within a package or as an entry."""
FOUNDING = (DOCS / "founding-document.md").read_text()


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """What headings can be linked by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    """To a file of the repository, and to a heading that is in it."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_knows_every_page():
    """A page that nothing leads to is not read, and then not kept up."""
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "README.md")}
    assert {page for page in DOCS.rglob("*") if page.is_file()} - {DOCS / "README.md"} - listed == set()


def unknown_word(words: list[str]) -> str:
    """The first of ``words`` that is no command of the program, or nothing; arguments may follow a command."""
    command = typer.main.get_command(app)
    for word in words:
        children = getattr(command, "commands", {})
        if children and word not in children:
            return word
        command = children.get(word)
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_mentions_exists(page):
    """Nobody is sent to a command that is planned, unless the same paragraph says so."""
    for paragraph in page.read_text().split("\n\n"):
        for mention in re.findall(r"`(?:\.venv/bin/)?xcore ([a-z][^`]*)`", paragraph):
            assert "planned" in paragraph or not unknown_word(mention.split()), mention


def test_the_changelog_names_every_command():
    """It is the users' list of what there is."""
    text = (ROOT / "CHANGELOG.md").read_text()
    groups = typer.main.get_command(app).commands
    for name, group in groups.items():
        children = getattr(group, "commands", {})
        assert f"`{name} {'|'.join(children)}`" in text if children else f"`{name}`" in text


# --- docs/founding-document.md --------------------------------------------------------------------------------


def rows() -> list[tuple[str, str]]:
    found = re.findall(r"^\| (.+?) \| (.+) \|$", FOUNDING, re.MULTILINE)
    return [row for row in found if row != ("There", "Here")]


def classes(path: str) -> set[str]:
    package = path.partition("/")[0]
    (module,) = (module for module in modules(package) if module.path == ROOT / path)
    return {name.rpartition(".")[2] for name, _ in module.lengths(*CLASSES)}


def test_every_row_says_what_it_became():
    """A file of ours that exists, a route or a command that exists, or plainly that there is nothing."""
    for there, here in rows():
        assert re.search(r"`(supervisor|gateway|plugin_runtime)/[\w/]+\.py`|^planned|^gone: ", here), there


def test_every_file_and_class_it_names_exists():
    """Names move; a table that sends people to where something used to be is worse than none."""
    named = re.findall(r"`((?:supervisor|gateway|plugin_runtime)/[\w/]+\.py)`(?:, class `(\w+)`)?", FOUNDING)
    assert len(named) > 30
    for path, cls in named:
        assert (ROOT / path).is_file(), path
        assert not cls or cls in classes(path), (path, cls)


def test_every_route_it_sends_people_to_exists():
    """Read off the routers themselves."""
    routers = [module.router for module in (exits, health, jobs, plugins, processes, tasks, tokens)]
    known = {f"{method} {route.path}" for router in routers for route in router.routes for method in route.methods}
    for _, here in rows():
        for route in re.findall(r"`((?:GET|POST|DELETE|PATCH) /[^`]+)`", here):
            assert route in known


def test_every_name_of_the_founding_document_is_there():
    """Its classes, and its routes."""
    names = """
    ManagerCfg Database get_db on_startup on_shutdown PluginsCrud ModuleRuntimeManager PluginsModels TaskModel Installer
    Loader Manager start_watching Reloader Repository Snapshot Validator Plugin Update Delete TaskManager TaskResource
    TaskResourcesResponse TaskStatusResponse TaskListResponse RestartService ThreadedService ServiceManager
    ExceptionResponse exception_handler Transactions require_admin require_superuser add_job reload_jobs get_jobs_info
    stopOne GET#/tasks/resources POST#/tasks/start POST#/tasks/stop POST#/tasks/restart GET#/tasks/list GET#/tasks/meta
    GET#/tasks/scheduler GET#/tasks/cron GET#/tasks/metrics GET#/tasks/summary GET#/tasks/config
    POST#/tasks/config/update POST#/tasks/reload POST#/tasks/config/autorestart GET#/tasks/threads
    """
    left = " ".join(there for there, _ in rows())
    for name in names.split():
        assert re.search(rf"\b{re.escape(name.replace('#', ' '))}\b", left), name


# --- docs/design.md -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_the_design_lists_every_module(package):
    """The list is where one begins to read the code; packages within a package are listed as one."""
    listing = (DOCS / "design.md").read_text().partition("\n## Modules\n")[2].partition("\n## ")[0]
    part = re.split(rf"^    (?={'|'.join(PACKAGES)})", listing, flags=re.MULTILINE)
    (text,) = (text for text in part if text.startswith(f"{package}/"))
    listed = set(re.findall(r"\w+", text))
    there = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix in {"", ".py"} and path.stem[0] not in "._"
    }
    assert sorted(there - listed) == [], "not in the list of modules in docs/design.md"
    files = {path.stem for path in (ROOT / package).rglob("*.py")}
    assert sorted(set(re.findall(r"(\w+)\.py", text)) - files - CONTRACTS) == [], "listed there, and gone"
