"""The example tasks, the job of the example plugin, and what docs/how-to/tasks-and-jobs.md has people write."""

import ast
import json
import re
import sqlite3
import sys
import textwrap
import types
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from plugin_runtime import task_metadata
from supervisor.cli.first_project import project_files
from supervisor.preparation.manifest import parse_manifest
from supervisor.schedule.declared import from_declaration, from_manifest
from supervisor.tasks.module_dir import literal_module_dir
from tests.readme import README, ROOT, TASKS_AND_JOBS, files

UTC = ZoneInfo("UTC")
EXAMPLES = sorted((ROOT / "backgroundtask").glob("*.py"))
WRITTEN = {
    Path(path).stem: text
    for page in (README, TASKS_AND_JOBS)
    for path, text in files(page).items()
    if path.startswith("backgroundtask/")
}
FIRST = project_files(plugin=False, task=True)["backgroundtask/first.py"]
TEXTS = {path.stem: path.read_text() for path in EXAMPLES} | WRITTEN | {"first": FIRST}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Import one as its process would; returns its module. What it needs of a plugin is told by the test."""
    monkeypatch.setenv("XCORE_DATA_DIR", str(tmp_path))

    def load(name, **plugin):
        board = types.ModuleType("plugins.board.board")
        board.read_notices = list
        vars(board).update(plugin)
        for package, module in [("plugins", None), ("plugins.board", None), ("plugins.board.board", board)]:
            monkeypatch.setitem(sys.modules, package, module or types.ModuleType(package))
        module = types.ModuleType(name)
        exec(compile(TEXTS[name], f"{name}.py", "exec"), vars(module))
        return module

    return load


class Service:
    """Stops after so many waits."""

    name = "heartbeat"
    start_time = 0.0
    running = True

    def __init__(self, waits=1):
        self._left = waits

    def wait(self, seconds):
        assert seconds > 0
        self._left -= 1
        self.running = self._left > 0
        return not self.running


def test_there_is_one_example_of_each_kind():
    """A service, jobs alone, the task of a plugin; README's, the how-to's, and that of ``xcore init``."""
    assert TEXTS.keys() == {"board_digest", "heartbeat", "report", "ticker", "outbox", "first"}


@pytest.mark.parametrize("name", TEXTS)
def test_every_example_is_valid(load, name):
    """Metadata and every job, as far as the supervisor reads them."""
    description = task_metadata.read(load(name), name, f"{name}.py").description
    assert description.errors == []
    jobs = [from_declaration(job, name, UTC) for job in description.jobs]
    assert all(job.trigger.next_after(0.0) for job in jobs)
    assert description.has_service or jobs
    assert literal_module_dir(TEXTS[name]) == description.module_dir


@pytest.mark.parametrize("name", [path.stem for path in EXAMPLES])
def test_every_function_of_an_example_has_type_hints(name):
    """People copy them."""
    for node in ast.walk(ast.parse(TEXTS[name])):
        if isinstance(node, ast.FunctionDef):
            assert node.returns is not None
            assert all(argument.annotation for argument in node.args.args)


def test_the_heartbeat_beats_and_says_how_long_it_ran(load, tmp_path, capsys):
    """Also when it is stopped."""
    module = load("heartbeat")
    module.service_main(Service(waits=2))
    assert capsys.readouterr().out.count("load ") == 2
    assert float((tmp_path / "last-beat").read_text().split()[1]) >= 0

    class Interrupted(Service):
        def wait(self, seconds):
            raise SystemExit

    with pytest.raises(SystemExit):
        module.service_main(Interrupted())
    assert "ran for" in capsys.readouterr().out


def test_the_report_sums_up_what_was_noted(load, tmp_path, capsys):
    """And forgets what is old; nothing noted yet is no failure."""
    module = load("report")
    module.daily()
    assert capsys.readouterr().out == "nothing was noted yet\n"
    (tmp_path / "disk.csv").write_text("1000,5\n")
    module.disk()
    module.disk()
    capsys.readouterr()
    module.daily()
    assert capsys.readouterr().out.startswith("2 notes: ")
    assert len((tmp_path / "disk.csv").read_text().splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["disk.csv"]


def test_the_digest_counts_who_wrote(load, tmp_path, capsys):
    """Into a file that the plugin can read."""
    load("board_digest", read_notices=lambda: [("Ada", "x"), ("Bob", "y"), ("Ada", "z")]).digest()
    assert json.loads((tmp_path / "digest.json").read_text()) == {"notices": 3, "authors": {"Ada": 2, "Bob": 1}}
    assert capsys.readouterr().out == "3 notices by 2 authors\n"


def test_the_outbox_of_the_how_to_does_what_it_says(load, tmp_path, capsys):
    """It is what a newcomer writes first."""
    module = load("outbox")
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / "one.txt").write_text("hello")
    module.service_main(Service())
    module.clean()
    assert capsys.readouterr().out == "hello\none.sent is gone\n"
    assert list((tmp_path / "outbox").iterdir()) == []


def test_the_schedules_in_the_table_of_the_how_to_are_valid(load):
    """Each is the keys of one job."""
    text = TASKS_AND_JOBS.read_text().partition("## 2.")[2].partition("## 3.")[0]
    rows = re.findall(r"^\| .+ \| `(\".+)` \|$", text, re.MULTILINE)
    assert len(rows) == 6
    for row in rows:
        keys = ast.literal_eval(f"{{{row}}}")
        if "cron_params" in keys:
            keys["interval"] = "cron"  # "the same in fields"
        module = types.ModuleType("x")
        module.work = lambda: None
        module.metadata = {**load("report").metadata, "con": [{"func": "work", "name": "work", **keys}]}
        description = task_metadata.read(module, "x", "x.py").description
        assert description.errors == [], row
        from_declaration(description.jobs[0], "x", UTC)


def test_the_job_of_the_example_plugin_forgets_old_notices(tmp_path):
    """The manifest names a function that is there, and what it runs is right SQL."""
    folder = ROOT / "plugins" / "board"
    manifest = parse_manifest("board", (folder / "pyproject.toml").read_text(), {})
    (job,) = manifest.jobs
    assert from_manifest(job, "board", UTC).id == "board.forget"
    module, _, function = job.entry.partition(":")
    tree = ast.parse((folder / f"{module}.py").read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    (sql,) = (
        node.value
        for node in ast.walk(found)
        if isinstance(node, ast.Constant) and str(node.value).startswith("DELETE")
    )
    database = sqlite3.connect(tmp_path / "board.db")
    database.execute("CREATE TABLE notices (id INTEGER PRIMARY KEY)")
    database.executemany("INSERT INTO notices VALUES (?)", [(number,) for number in range(5)])
    assert database.execute(sql, (2,)).rowcount == 3
    assert database.execute("SELECT id FROM notices ORDER BY id").fetchall() == [(3,), (4,)]
    database.close()
    declared = (folder / "pyproject.toml").read_text().partition("[[tool.xcore.jobs]]")[2]
    assert f"    [[tool.xcore.jobs]]{textwrap.indent(declared, '    ')}" in TASKS_AND_JOBS.read_text()
