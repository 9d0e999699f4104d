"""Plugins that come, go, move and are ordered about while everything runs."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fakes.processes import CHILDREN
from tests.integration.project import XCORE, Project
from tests.integration.test_reload import code, save, version, wait_for_version

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]


@pytest.fixture
def system(project: Project) -> Project:
    project.add_code("shop", code(1))
    return project.up()


def deploy(project: Project, name: str, text: str, **keys: object) -> None:
    """Another folder, there in one step, as a deployment does it."""
    project.add_code(f".{name}", text, **keys)
    (project.plugins / f".{name}").rename(project.plugins / name)


def test_a_new_folder_is_served_and_a_removed_one_disabled(system):
    """Row 46: nobody restarts anything; the neighbour's process stays."""
    pid = system.pid("shop")
    deploy(system, "news", code("news"))
    wait_for_version(system, "news", "news")
    shutil.rmtree(system.plugins / "news")
    system.wait_until(lambda: system.health()["plugins"]["news"]["state"] == "disabled", "it is disabled")
    assert system.http.get("/news/version").status_code == 404
    system.wait_until(lambda: system.exits("news"), "its worker has ended")
    assert system.exits("news")[0]["cause"] == "disabled"
    deploy(system, "news", code("again"))
    system.wait_until(lambda: "news is there; it stays disabled" in system.log, "it is said that it stays disabled")
    assert system.xcore("plugin", "enable", "news").returncode == 0
    assert version(system, "news") == "again"
    assert system.pid("shop") == pid


def test_of_a_plugin_that_is_forgotten_only_data_and_logs_stay(system):
    """Copies of its code would take space for ever; what it has written is not ours to remove."""
    deploy(system, "news", code("news"))
    wait_for_version(system, "news", "news")
    copies = system.state / "generations"
    assert (copies / "news").is_dir()
    shutil.rmtree(system.plugins / "news")
    system.wait_until(lambda: system.health()["plugins"]["news"]["state"] == "disabled", "it is disabled")
    assert system.xcore("plugin", "remove", "news").returncode == 0
    system.wait_until(lambda: not (copies / "news").exists(), "the copies of its code are gone")
    assert system.data("news").is_dir()
    assert (copies / "shop").is_dir()
    deploy(system, "news", code("another"))
    wait_for_version(system, "another", "news")


def test_a_plugin_can_be_disabled_forgotten_and_removed_in_this_order(system):
    """As the commands suggest it: no trace of it is left, and its name is free for another one."""
    deploy(system, "news", code("news"))
    wait_for_version(system, "news", "news")
    assert system.xcore("plugin", "disable", "news").returncode == 0
    for _ in range(2):
        done = system.xcore("plugin", "remove", "news")
        assert (done.returncode, f"its folder {system.plugins / 'news'} is still there" in done.stdout) == (0, True)
    shutil.rmtree(system.plugins / "news")
    system.wait_until(lambda: "news" not in system.health()["plugins"], "it is gone")
    deploy(system, "news", code("another"))
    wait_for_version(system, "another", "news")


def test_a_folder_that_is_renamed_is_another_plugin(system):
    """Row 46: by its name; the old one is disabled, its data stay."""
    (system.plugins / "shop").rename(system.plugins / "store")
    wait_for_version(system, 1, "store")
    system.wait_until(lambda: system.plugin("shop")["state"] == "disabled", "the old name is disabled")
    assert system.data("shop").is_dir()


def test_a_linked_folder_is_followed_to_where_it_is(system, tmp_path):
    """Row 46: a link is how a deployment switches versions: the next one is served when the link points there."""
    for number in (1, 2):
        shutil.copytree(system.plugins / "shop", tmp_path / str(number))
        (tmp_path / str(number) / "main.py").write_text(code(f"release {number}"))
    link = system.plugins / "linked"
    link.symlink_to(tmp_path / "1")
    wait_for_version(system, "release 1", "linked")
    draft = system.plugins / ".linked"
    draft.symlink_to(tmp_path / "2")
    draft.rename(link)
    wait_for_version(system, "release 2", "linked")
    draft = tmp_path / "2" / ".main.py.swp"
    draft.write_text(code("in place"))
    draft.rename(tmp_path / "2" / "main.py")
    wait_for_version(system, "in place", "linked")


def test_a_burst_of_saves_is_few_reloads(system):
    """Row 48: 300 events in a moment, swap files, caches, an environment; the last state is served."""
    folder = system.plugins / "shop"
    for directory in (".venv/lib", "node_modules/left-pad", "__pycache__", ".git/objects"):
        (folder / directory).mkdir(parents=True)
    before = len(system.exits("shop"))
    for number in range(300):
        save(system, code(number))
        for noise in (".venv/lib/a.py", "node_modules/left-pad/index.js", ".git/objects/00", ".main.py.swp", "4913"):
            (folder / noise).write_text(str(number))
    wait_for_version(system, 299)
    system.wait_until(lambda: len(system.plugin("shop")["instances"]) == 1, "one worker serves")
    assert len(system.exits("shop")) - before < 300 / 10
    last = f"is reloaded: generation {system.plugin('shop')['generation']} "
    system.wait_until(lambda: last in system.log, "the last reload is told")
    count = system.log.count("is reloaded")
    for noise in (
        ".venv/lib/a.py",
        "node_modules/left-pad/index.js",
        ".git/objects/00",
        "__pycache__/main.pyc",
        "shop.db",
    ):
        (folder / noise).write_text("noise")
    save(system, code("end"))
    wait_for_version(system, "end")
    system.wait_until(lambda: system.log.count("is reloaded") == count + 1, "one reload, for the one save")


def test_a_changed_dotenv_and_manifest_are_followed(system):
    """What workers are started with is part of what they are."""
    folder = system.plugins / "shop"
    asking = code(1) + '\n\n@app.get("/mode")\ndef mode():\n    return os.environ.get("MODE")\n'
    save(system, asking)
    system.wait_until(lambda: system.http.get("/shop/mode").status_code == 200, "the new code answers")
    (folder / ".env").write_text("MODE=fast\n")
    system.wait_until(lambda: system.http.get("/shop/mode").json() == "fast", "the dotenv file is followed")
    manifest = folder / "pyproject.toml"
    (folder / ".gitignore").write_text("*.env\n")
    (folder / "prod.env").write_text("MODE=slow\n")
    manifest.write_text(f'{manifest.read_text()}env_file = "prod.env"\n')
    system.wait_until(lambda: system.http.get("/shop/mode").json() == "slow", "another dotenv file is followed")
    (folder / "prod.env").write_text("MODE=slower\n")
    system.wait_until(lambda: system.http.get("/shop/mode").json() == "slower", "it is followed though Git ignores it")
    manifest.write_text(f'{manifest.read_text()}prefix = "/store"\ninstances = 2\n')
    system.wait_until(lambda: system.http.get("/store/mode").status_code == 200, "the prefix is followed")
    system.wait_until(lambda: len(system.plugin("shop")["instances"]) == 2, "two instances are left")
    assert system.http.get("/shop/mode").status_code == 404


def test_the_refused_one_is_served_when_the_owner_of_its_prefix_is_disabled(system):
    """Row 44: while everything runs; the owner gets it back only when it is free."""
    system.expect_log(r"ERROR .* prefix '/shop' belongs to plugin 'shop'")
    deploy(system, "rival", code("rival"), prefix="/shop")
    refused = {"state": "refused", "ready": 0, "wanted": 1, "restarts": 0}
    system.wait_until(lambda: system.health()["plugins"].get("rival") == refused, "the newcomer is refused")
    assert version(system) == 1
    assert system.xcore("plugin", "disable", "shop").returncode == 0
    wait_for_version(system, "rival")


def test_configuration_of_a_plugin_is_followed_and_autoreload_can_be_off(system):
    """By hand then; whatever is changed meanwhile comes with it."""
    config = json.loads((system.folder / "config.json").read_text())
    config["plugins"] = {"shop": {"instances": 2, "autoreload": False}}
    (system.folder / "config.json").write_text(json.dumps(config))
    assert system.xcore("config", "reload").returncode == 0
    system.wait_until(lambda: len(system.plugin("shop")["instances"]) == 2, "it has two instances")
    save(system, code(2))
    deploy(system, "news", code("news"))  # a look that sees it sees the save as well
    wait_for_version(system, "news", "news")
    assert version(system) == 1
    done = system.xcore("plugin", "reload", "shop")
    assert (done.returncode, version(system)) == (0, 2)
    save(system, "def broken(:\n")
    done = system.xcore("plugin", "reload", "shop")
    assert (done.returncode, version(system)) == (1, 2)
    assert "main.py" in done.stderr
    system.expect_log(r"ERROR .* (Plugin shop goes on as it was|cannot replace the code of plugin 'shop')")


def test_rollback_serves_the_code_before_also_after_a_restart(system):
    """Until the files change."""
    save(system, code(2))
    wait_for_version(system, 2)
    assert system.xcore("plugin", "rollback", "shop").returncode == 0
    assert version(system) == 1
    system.stop()
    system.up()
    assert version(system) == 1
    assert "serves since the plugin was rolled back" in system.xcore("plugin", "show", "shop").stdout
    save(system, code(3))
    wait_for_version(system, 3)
    assert "rolled back" not in system.xcore("plugin", "show", "shop").stdout
    done = system.xcore("plugin", "rollback", "nobody")
    assert (done.returncode, "no plugin named 'nobody'" in done.stderr) == (1, True)


def test_code_that_was_broken_while_nobody_looked_is_served_as_it_was(system):
    """The error is there from the start."""
    system.expect_log(r"ERROR .* Plugin shop is served as it was")
    system.stop()
    save(system, "def broken(:\n")
    system.up()
    assert version(system) == 1
    assert system.plugin("shop")["error"]["type"] == "SyntaxError"


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_a_plugin_directory_that_is_mounted_after_the_start_disables_nothing(system, is_killed):
    """Its plugins are served when it comes; workers that outlived a killed supervisor serve all the time."""
    for pattern in ("the plugin directory", "Plugin shop is not served before", "Plugin shop goes on as it was"):
        system.expect_log(rf"ERROR .*{pattern}")
    pid = system.pid("shop")
    if is_killed:
        system.process.kill()
        system.process.wait()
        system.gateway_file.unlink()
    else:
        system.stop()
    disk = system.plugins.rename(system.folder / "disk")
    system.plugins.mkdir()
    system.up()
    shop = system.plugin("shop")
    assert (shop["active"], shop["state"]) == (True, "running" if is_killed else "failed")
    assert not is_killed or version(system) == 1
    system.plugins.rmdir()
    disk.rename(system.plugins)
    system.wait_until(lambda: system.plugin("shop")["error"] is None, "the folder has come")
    wait_for_version(system, 1)
    assert (system.pid("shop") == pid) == is_killed


def test_disabled_holds_over_restarts(system):
    """And what the others do is on record."""
    assert system.xcore("plugin", "disable", "shop").returncode == 0
    assert system.http.get("/shop/version").status_code == 404
    system.stop()
    system.up()
    assert system.plugin("shop")["state"] == "disabled"
    assert system.xcore("plugin", "enable", "shop").returncode == 0
    assert version(system) == 1


def test_fifty_orders_at_once_end_in_one_worker(system):
    """Row 50: serialised; nobody gets a 500."""
    verbs = ("restart", "disable", "enable", "reload", "enable")
    with ThreadPoolExecutor(10) as pool:
        paths = [f"/admin/plugins/shop/{verbs[number % len(verbs)]}" for number in range(50)]
        statuses = {answer.status_code for answer in pool.map(system.admin.post, paths)}
    assert statuses <= {202, 409}
    assert system.xcore("plugin", "enable", "shop").returncode == 0
    assert version(system) == 1
    system.wait_until(lambda: len(workers(system)) == 1, "one worker runs")
    audited = subprocess.run(
        [sys.executable, "-c", COUNT, str(system.state / "manager.db")], capture_output=True, text=True, check=True
    )
    assert int(audited.stdout) >= 50


@pytest.mark.parametrize(
    ("what", "problem", "limit"),
    [
        ("watches", "inotify watch limit reached", "fs.inotify.max_user_watches"),
        ("instances", "inotify instance limit reached", "fs.inotify.max_user_instances"),
    ],
)
def test_without_file_events_changes_are_noticed_all_the_same(project, what, problem, limit):
    """Row 49: by looking; it is said once of each directory, however many changes follow.

    The kernel refuses for real, by the limits of a user namespace. Where none may be made, a filter of system calls has
    it answer as it does at that limit.
    """
    folder = {"interval": 0.2}
    project.configure(manager={"plugins": folder, "tasks": folder})
    project.tasks.mkdir()
    project.add_code("shop", code(1))
    project.up([sys.executable, CHILDREN / "few_watches.py", what, XCORE, "up"])
    for number in (2, 3):
        save(project, code(number))
        wait_for_version(project, number)
    deploy(project, "news", code("news"))
    wait_for_version(project, "news", "news")
    project.add_task("late", "def service_main(service):\n    service.wait(1e6)")
    project.wait_for_task("late", "running")
    told = [line for line in project.log.splitlines() if "The kernel gives no events" in line]
    said = f": {problem}; changes are noticed by looking regularly; raise {limit} with sysctl"
    assert all(said in line for line in told), told
    for directory in (project.plugins, project.tasks):
        assert sum(f"no events of {directory}" in line for line in told) == 1, told
    assert len(told) == 2


COUNT = """
import sqlite3, sys
(count,), = sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM audit WHERE action LIKE 'plugins.%'")
print(count)
"""


def workers(system: Project) -> list[int]:
    found = system.admin.get("/admin/processes", params={"kind": "worker"}).raise_for_status().json()
    return [one["pid"] for one in found if one["pid"]]
