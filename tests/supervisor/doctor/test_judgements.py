"""From what was measured to what it means: no process, no file, no machine."""

from pathlib import Path

import pytest

from supervisor.doctor import database, folder, installers, kernel, limits, machine, packages, sockets
from supervisor.doctor.finding import Result
from supervisor.doctor.folder import FileSystem
from supervisor.doctor.limits import Allowance
from supervisor.doctor.sockets import Running
from supervisor.environments.environment import Interpreter
from supervisor.environments.runner import Completed

OK, WARNING, MISSING = Result

WORKS = {"works": True, "error": None, "forked": 8, "unreadable": []}
FAILS = {"works": False, "error": "Function not implemented", "forked": 3, "unreadable": ["<pid>/environ: no"]}

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /proc rw,nosuid shared:2 - proc proc rw,hidepid=invisible
23 21 0:40 / /srv/a\\040b rw shared:3 - nfs4 host:/export rw
24 21 0:41 / /srv rw shared:4 - xfs /dev/sdb rw
25 23 0:42 / /srv/a\\040b/deep rw shared:5 - tmpfs tmpfs rw
26 21 0:43 / /srv rw shared:6 - btrfs /dev/sdc rw
"""


@pytest.mark.parametrize(
    ("judge", "failure"),
    [
        (kernel.judge_pidfd, MISSING),
        (kernel.judge_exits_of_others, WARNING),
        (kernel.judge_subreaper, MISSING),
        (kernel.judge_stacks, WARNING),
        (kernel.judge_fork, MISSING),
    ],
)
def test_what_the_kernel_refuses_is_named(judge, failure):
    """Only what xcore can do without is a warning."""
    assert judge(WORKS).result is OK
    finding = judge(FAILS)
    assert finding.result is failure
    assert "Function not implemented" in finding.found


def test_a_proc_that_hides_other_users_processes_is_fine():
    """All of ours run as one user; what cannot be read of these is missing."""
    assert kernel.judge_proc(WORKS, "").found == "readable"
    assert kernel.judge_proc(WORKS, "2").found == "readable, hidepid=2"
    assert kernel.judge_proc(FAILS, "") == kernel.missing("cannot read <pid>/environ: no")
    assert kernel.hidepid(MOUNTS) == "invisible"
    assert kernel.hidepid(MOUNTS.replace(",hidepid=invisible", "")) == ""


@pytest.mark.parametrize(
    ("soft", "hard", "processes", "expected"),
    [
        (1024, 524288, 29, OK),
        (None, None, 1000, OK),
        (256, 4096, 29, WARNING),
        (208, 4096, 29, MISSING),
        (1024, 1024, 250, MISSING),
    ],
)
def test_open_files_are_held_against_what_the_plugins_need(soft, hard, processes, expected):
    """The advice has the number to write, and says where only root can."""
    finding = limits.judge_open_files(soft, hard, processes)
    assert finding.result is expected
    if expected is not OK:
        wanted = limits.FILES + limits.FILES_PER_PROCESS * processes + limits.CONNECTIONS
        assert f"ulimit -n {wanted}, or LimitNOFILE={wanted}" in finding.advice
        assert ("root must first" in finding.advice) == (hard < wanted)


@pytest.mark.parametrize(
    ("allowances", "expected", "found"),
    [
        ([], OK, "no limit"),
        ([Allowance("ulimit -u", 1000, 200)], OK, "200 of 1000 (ulimit -u)"),
        (
            [Allowance("ulimit -u", 1000, 200), Allowance("pids.max of x", 100, 50)],
            WARNING,
            "50 of 100 (pids.max of x)",
        ),
        ([Allowance("ulimit -u", 100, 95)], MISSING, "95 of 100 (ulimit -u)"),
    ],
)
def test_of_several_limits_the_one_with_the_least_room_counts(allowances, expected, found):
    """A control group may allow for less than ulimit says."""
    finding = limits.judge_process_count(allowances, 20)
    assert finding.result is expected
    assert finding.found.startswith(found)


@pytest.mark.parametrize(
    ("instances", "watches", "trouble", "expected"),
    [
        (128, 65536, "", OK),
        (None, None, "", OK),
        (128, 100, "", WARNING),
        (0, 65536, "Too many open files", WARNING),
    ],
)
def test_without_inotify_it_is_said_what_polling_means(instances, watches, trouble, expected):
    """Nothing breaks without it, so it is never missing."""
    finding = limits.judge_inotify(instances, watches, trouble, 2.0)
    assert finding.result is expected
    assert ("every 2 s" in finding.meaning) == (expected is WARNING)
    assert finding.found.startswith(trouble)


@pytest.mark.parametrize(
    ("kind", "executable", "expected"),
    [
        ("ext4", True, OK),
        ("overlay", True, OK),
        ("nfs4", True, WARNING),
        ("tmpfs", True, WARNING),
        ("ext4", False, MISSING),
    ],
)
def test_a_file_system_is_judged_by_what_lies_on_it(kind, executable, expected):
    """A database, libraries of plugins, and state that shall still be there tomorrow."""
    finding = folder.judge_file_system(FileSystem(kind, executable))
    assert finding.result is expected
    assert bool(finding.meaning and finding.advice) == (expected is not OK)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/x", "ext4"), ("/srv/a", "btrfs"), ("/srv/a b/c", "nfs4"), ("/srv/a b/deep/x", "tmpfs"), ("/srvx", "ext4")],
)
def test_the_file_system_of_a_path_is_the_nearest_mount_above_it(path, kind):
    """Of two mounts on the same folder the later one hides the earlier."""
    assert folder.kind_of(MOUNTS, Path(path)) == kind


@pytest.mark.parametrize(
    ("free", "files", "expected"),
    [
        (5000, None, OK),
        (5000, 1_000_000, OK),
        (900, None, WARNING),
        (10, None, MISSING),
        (5000, 5000, WARNING),
        (5000, 10, MISSING),
    ],
)
def test_space_is_mebibytes_and_inodes(free, files, expected):
    """A disk that has room for bytes may have none for another file."""
    assert folder.judge_space(free, files).result is expected


@pytest.mark.parametrize(("length", "expected"), [(107, OK), (108, MISSING)])
def test_a_socket_path_ends_at_107_bytes(length, expected):
    """The advice counts for the reader."""
    finding = sockets.judge_path_length(length)
    assert finding.result is expected
    assert ("1 bytes shorter" in finding.advice) == (expected is MISSING)


def test_the_kernel_must_name_the_peer_and_pass_descriptors():
    """Whoever may open the command socket is the operator, except our own processes: that rests on the pid."""
    assert sockets.judge_unix_sockets(7, 7, passes_descriptor=True).result is OK
    assert sockets.judge_unix_sockets(0, 7, passes_descriptor=True).result is MISSING
    assert sockets.judge_unix_sockets(7, 7, passes_descriptor=False).result is MISSING


def test_both_a_running_supervisor_and_none_are_fine():
    """The doctor is asked before the first start and in the middle of the night."""
    assert sockets.judge_running(None).found == "none runs here"
    assert sockets.judge_running(Running(7, "http://x")).found == "process 7 runs, http://x"
    assert sockets.judge_running(Running(7, "")).result is OK


@pytest.mark.parametrize(
    ("done", "plugin", "expected", "found"),
    [
        (Completed(0, tail=("Poetry (version 2.5.1)",)), "0.6", OK, "2.5.1, poetry-plugin-pypi-mirror 0.6"),
        (Completed(0, tail=("Poetry (version 2.5.1)",)), "", WARNING, "2.5.1, without poetry-plugin-pypi-mirror"),
        (
            Completed(1, tail=("No module named poetry",)),
            "0.6",
            MISSING,
            "does not start: No module named poetry (exit",
        ),
        (Completed(None, timed_out=True), "0.6", MISSING, "does not start: killed at its time limit"),
    ],
)
def test_poetry_is_judged_by_what_it_says_of_itself(done, plugin, expected, found):
    """Without the plugin the index of the configuration has no effect."""
    finding = installers.judge_poetry(done, plugin)
    assert finding.result is expected
    assert finding.found.startswith(found)


def test_addresses_are_shown_without_secrets():
    """Reports end up in public."""
    assert installers.without_secrets("https://me:pw@host:8/simple?t=1#x") == "https://host:8/simple"
    assert installers.without_secrets("file:///opt/simple") == "file:///opt/simple"


def test_interpreters_are_listed_by_version():
    found = [Interpreter(Path("/a"), "3.11.7"), Interpreter(Path("/b"), "3.13.0")]
    assert installers.judge_interpreters(found).found == "3.11.7, 3.13.0"


@pytest.mark.parametrize(
    ("year", "moves", "synchronised", "expected"),
    [
        (2026, True, True, OK),
        (2026, True, None, OK),
        (2026, True, False, WARNING),
        (1970, True, True, MISSING),
        (2106, True, True, MISSING),
        (2026, False, True, MISSING),
    ],
)
def test_a_clock_must_go_and_be_plausible(year, moves, synchronised, expected):
    """Where the kernel does not tell whether it is kept right, nothing is said of it."""
    assert machine.judge_clock(year, moves=moves, synchronised=synchronised).result is expected


def test_root_is_a_warning_only():
    """Containers often run as root."""
    assert machine.judge_user(0).result is WARNING
    assert machine.judge_user(1000).result is OK


def test_a_first_process_that_leaves_zombies_is_named():
    """As in a container that was started with a program that is no init."""
    assert machine.judge_first_process("sleep", 3, is_ours=False).found == "sleep does not reap; zombies: 3"
    assert machine.judge_first_process("systemd", 0, is_ours=False).result is OK
    assert machine.judge_first_process("xcore", 3, is_ours=True).result is OK


def test_an_sqlite_without_upserts_is_missing():
    assert database.judge_sqlite((3, 40, 1)).found == "3.40.1"
    assert database.judge_sqlite((3, 22, 0)).result is MISSING


def test_a_namesake_is_a_warning_and_supervisord_beside_us_more_than_that():
    """Elsewhere on sys.path it waits for its turn; in the same folder its files replace ours."""
    assert packages.judge_namesakes([], supervisord=False).result is OK
    behind = packages.judge_namesakes([Path("/x/supervisor.py")], supervisord=False)
    assert (behind.result, behind.found) == (WARNING, "/x/supervisor.py has a name of ours")
    assert packages.judge_namesakes([], supervisord=True).result is MISSING
