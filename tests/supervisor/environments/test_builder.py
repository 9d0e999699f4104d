import asyncio
import errno
import fcntl
import json
import os
from pathlib import Path

import pytest

from supervisor.environments import Interpreter
from supervisor.environments.build_log import BuildLogs
from supervisor.environments.builder import MARK, Builder, BuildSettings, Plan, existing
from supervisor.environments.package_index import PackageIndex
from supervisor.environments.progress import BuildProgress, unheard
from supervisor.environments.project import parse
from supervisor.environments.runner import Completed
from supervisor.errors import BuildInterruptedError, EnvironmentBuildError, SpawnError
from tests.fakes.runners import ForbiddenRunner, ScriptedRunner, SubprocessRunner

PYTHON = Interpreter(Path("/usr/bin/python3.11"), "3.11.7")
INDEX = 'xcore-index:{"index_url": "https://pip.example/simple", "certificate": null, "mirror": true}'
UNREACHABLE = Completed(1, tail=("Max retries exceeded with url: /simple/six/",))


class Programs:
    """What the programs of a build do on disk; ``failures`` are answered first, by verb."""

    def __init__(self, **failures):
        self.failures = failures

    def __call__(self, call):
        if failures := self.failures.get(call.verb):
            return failures.pop(0)
        if call.verb == "venv":
            (call.cwd / "bin").mkdir()
            (call.cwd / "bin" / "python").touch()
        if call.verb == "lock":
            (call.cwd / "poetry.lock").write_text("# resolved")
        return Completed(0, tail=(INDEX,) if call.verb == "index" else (f"{call.verb} done",))


@pytest.fixture
def plan(tmp_path):
    return plan_of(tmp_path)


def plan_of(tmp_path, name="shop", lock=None, **options):
    project = parse(name, "[project]\ndependencies = ['six']", lock)
    return Plan(name, tmp_path / "envs" / name, project, PYTHON, **options)


def builder(tmp_path, runner, **settings):
    quick = BuildSettings(**{"retry_delay": 0.0, "parallel": 2} | settings)
    index, logs = PackageIndex(runner, {}), BuildLogs(tmp_path / "logs")
    return Builder(tmp_path / "envs" / ".cache", runner, index, logs, {"PATH": "/usr/bin"}, quick)


def ensure(builder, plan, on_progress=unheard, *, anew=False):
    return asyncio.run(builder.ensure(plan, on_progress, anew=anew))


def test_an_environment_is_built_at_its_final_place(tmp_path, plan):
    """Scripts of a venv hold its path, so it cannot be moved afterwards."""
    runner = ScriptedRunner(Programs())
    environment = ensure(builder(tmp_path, runner), plan)
    assert runner.verbs == ["index", "venv", "lock", "install"]
    assert environment.folder == tmp_path / "envs" / "shop" / plan.fingerprint
    assert environment.python.exists()
    assert environment.site_packages == environment.folder / "lib" / "python3.11" / "site-packages"


def test_a_plugin_with_a_lock_is_installed_from_it(tmp_path):
    """Nothing is resolved behind the author's back."""
    plan = plan_of(tmp_path, lock="# theirs")
    runner = ScriptedRunner(Programs())
    ensure(builder(tmp_path, runner), plan)
    assert runner.verbs == ["index", "venv", "install"]
    assert (plan.folder / "poetry.lock").read_text() == "# theirs"


def test_a_resolved_lock_is_kept_with_the_environment(tmp_path, plan):
    """One can read afterwards which versions a plugin without a lock got."""
    ensure(builder(tmp_path, ScriptedRunner(Programs())), plan)
    assert (plan.folder / "poetry.lock").read_text() == "# resolved"


def test_an_unchanged_environment_starts_no_process(tmp_path, plan):
    """A supervisor that starts again must not wait for installers that have nothing to do."""
    built = ensure(builder(tmp_path, ScriptedRunner(Programs())), plan)
    assert ensure(builder(tmp_path, ForbiddenRunner()), plan) == built


@pytest.mark.parametrize("damage", ["no mark", "half a mark", "no python"])
def test_a_half_built_environment_is_never_used(tmp_path, plan, damage):
    """Left by a kill, or a Python that was removed. The next one has a folder of its own: somebody may still write."""
    ensure(builder(tmp_path, ScriptedRunner(Programs())), plan)
    (plan.folder / "leftover").touch()
    if damage == "no python":
        (plan.folder / "bin" / "python").unlink()
    else:
        (plan.folder / MARK).write_text('{"na') if damage == "half a mark" else (plan.folder / MARK).unlink()
    runner = ScriptedRunner(Programs())
    environment = ensure(builder(tmp_path, runner), plan)
    assert "install" in runner.verbs
    assert environment.folder == plan.owner / f"{plan.fingerprint}.2"
    assert not (environment.folder / "leftover").exists()
    assert existing(plan) == environment
    assert plan.folder.exists() == (damage != "no mark")


@pytest.mark.parametrize("verb", ["index", "venv", "lock", "install"])
def test_a_kill_at_any_step_leaves_nothing_that_is_used(tmp_path, plan, verb):
    """Of the supervisor, that is: whatever was there by then has no mark, and is gone after the next build."""

    class KilledError(BaseException):
        pass

    def play(call):
        if call.verb == verb:
            raise KilledError
        return Programs()(call)

    with pytest.raises(KilledError):
        ensure(builder(tmp_path, ScriptedRunner(play)), plan)
    assert existing(plan) is None
    environment = ensure(builder(tmp_path, ScriptedRunner(Programs())), plan)
    assert list(plan.owner.iterdir()) == [environment.folder]


def test_a_failed_installation_leaves_no_mark_and_shows_the_last_lines(tmp_path, plan):
    """The next try begins anew, and the operator sees why this one failed."""
    failed = Completed(1, tail=("Because shop depends on six (>99) ...", "version solving failed."))
    with pytest.raises(EnvironmentBuildError, match="'shop': its dependencies contradict each other") as caught:
        ensure(builder(tmp_path, ScriptedRunner(Programs(lock=[failed]))), plan)
    assert caught.value.log_tail == list(failed.tail)
    assert "relax" in caught.value.hint
    assert list(plan.owner.iterdir()) == []


@pytest.mark.parametrize(
    ("verb", "otherwise"), [("venv", "virtual environment"), ("lock", "resolved"), ("install", "installed")]
)
def test_an_unknown_failure_names_the_step_the_code_and_the_python(tmp_path, plan, verb, otherwise):
    """Even without a diagnosis the message says where to look."""
    runner = ScriptedRunner(Programs(**{verb: [Completed(None, 11)]}))
    with pytest.raises(EnvironmentBuildError, match=r"cannot be .*killed by signal 11, Python 3\.11\.7") as caught:
        ensure(builder(tmp_path, runner), plan)
    assert otherwise in caught.value.problem


def test_a_network_failure_is_tried_again_with_a_fresh_cache(tmp_path, plan):
    """The network may be back in a second, and a damaged download must not fail for ever."""
    runner = ScriptedRunner(Programs(install=[UNREACHABLE, UNREACHABLE]))
    ensure(builder(tmp_path, runner), plan)
    caches = [call.environment["POETRY_CACHE_DIR"] for call in runner.calls if call.verb == "install"]
    assert caches == [str(tmp_path / "envs" / ".cache")] + [str(plan.folder / ".cache")] * 2
    assert not (plan.folder / ".cache").exists()


def test_a_network_that_stays_away_is_given_up(tmp_path, plan):
    """Two more tries, then the plugin is failed with a hint."""
    runner = ScriptedRunner(Programs(install=[UNREACHABLE] * 9))
    with pytest.raises(EnvironmentBuildError, match=r"cannot be reached.*supervisor\.index_url"):
        ensure(builder(tmp_path, runner), plan)
    assert runner.verbs.count("install") == 3


def test_a_failure_of_the_dependencies_themselves_is_not_tried_again(tmp_path, plan):
    """Resolving the same contradiction twice only costs time."""
    runner = ScriptedRunner(Programs(lock=[Completed(1, tail=("version solving failed.",))]))
    with pytest.raises(EnvironmentBuildError):
        ensure(builder(tmp_path, runner), plan)
    assert runner.verbs.count("lock") == 1


def test_all_steps_share_one_time_limit(tmp_path, plan):
    """600 s for a build are not 600 s for each of its programs."""
    runner = ScriptedRunner(Programs(install=[Completed(None, 9, timed_out=True)]))
    with pytest.raises(EnvironmentBuildError, match="not done after 60 s"):
        ensure(builder(tmp_path, runner, time_limit=60.0), plan)
    timeouts = [call.timeout for call in runner.calls if call.verb != "index"]
    assert timeouts == sorted(timeouts, reverse=True)
    assert all(0 < timeout <= 60 for timeout in timeouts)
    assert runner.verbs[-1] == "install"


def test_optional_groups_that_fail_are_left_out(tmp_path):
    """The guest works without uvloop, and there may be no wheel of it for a new Python."""
    plan = plan_of(tmp_path, optional_groups=True)
    runner = ScriptedRunner(Programs(install=[Completed(1, tail=("ChefBuildError",))]))
    environment = ensure(builder(tmp_path, runner), plan)
    assert environment.optional_groups is False
    assert ["--only" in call.command for call in runner.calls if call.verb == "install"] == [False, True]
    assert json.loads((plan.folder / MARK).read_text())["optional_groups"] is False
    assert ensure(builder(tmp_path, ForbiddenRunner()), plan) == environment


def test_optional_groups_are_there_where_they_can_be(tmp_path):
    """And a later start still knows."""
    plan = plan_of(tmp_path, optional_groups=True)
    assert ensure(builder(tmp_path, ScriptedRunner(Programs())), plan).optional_groups
    assert ensure(builder(tmp_path, ForbiddenRunner()), plan).optional_groups


def test_progress_tells_every_step_and_every_line(tmp_path, plan):
    """Building takes long; whoever waits sees that something happens."""
    lines = []
    ensure(builder(tmp_path, ScriptedRunner(Programs())), plan, lines.append)
    assert "Python 3.11.7" in lines[0].step
    assert lines[1:] == [
        BuildProgress(lines[0].step, "venv done"),
        *(BuildProgress("resolving dependencies", line) for line in ("", "lock done")),
        *(BuildProgress("installing dependencies", line) for line in ("", "install done")),
    ]


def test_one_that_waits_for_another_build_says_so(tmp_path):
    """Otherwise it looks as if it hung."""
    told = []

    async def both():
        shared = builder(tmp_path, Meeting(), parallel=1)
        first, second = (plan_of(tmp_path, name) for name in ("first", "second"))
        await asyncio.gather(shared.ensure(first, unheard), shared.ensure(second, told.append))

    asyncio.run(both())
    assert told[0] == BuildProgress("waiting for other builds")


def test_a_build_that_waits_for_another_process_takes_no_turn_from_others(tmp_path):
    """That one may be held up for minutes, and all that this one could build at a time is one."""
    told = []

    async def both(lock):
        shared = builder(tmp_path, ScriptedRunner(Programs()), parallel=1)
        first, second = (plan_of(tmp_path, name) for name in ("first", "second"))
        waiting = asyncio.create_task(shared.ensure(first, told.append))
        await until(lambda: told, "it waits")
        assert (await shared.ensure(second, unheard)).folder.parent == second.owner
        assert not waiting.done()
        os.close(lock)
        assert (await waiting).folder.parent == first.owner

    (tmp_path / "envs").mkdir()
    lock = os.open(tmp_path / "envs" / ".first.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    asyncio.run(both(lock))
    assert told[0] == BuildProgress("waiting for another process that builds it")


def test_an_environment_is_built_anew_beside_the_one_in_use(tmp_path, plan):
    """Nothing is changed in place, and the newest one is used from there on."""
    first = ensure(builder(tmp_path, ScriptedRunner(Programs())), plan)
    second = ensure(builder(tmp_path, ScriptedRunner(Programs())), plan, anew=True)
    third = ensure(builder(tmp_path, ScriptedRunner(Programs())), plan, anew=True)
    assert [e.folder.name.removeprefix(plan.fingerprint) for e in (first, second, third)] == ["", ".2", ".3"]
    assert len({e.fingerprint for e in (first, second, third)}) == 3
    assert first.python.exists()
    assert ensure(builder(tmp_path, ForbiddenRunner()), plan) == third


def test_a_build_anew_that_fails_leaves_the_one_before(tmp_path, plan):
    """The worst that can happen to who asks for it."""
    first = ensure(builder(tmp_path, ScriptedRunner(Programs())), plan)
    with pytest.raises(EnvironmentBuildError):
        ensure(builder(tmp_path, ScriptedRunner(Programs(install=[Completed(1)]))), plan, anew=True)
    assert ensure(builder(tmp_path, ForbiddenRunner()), plan) == first
    assert list(plan.owner.iterdir()) == [first.folder]


def test_the_tenth_build_is_newer_than_the_ninth(tmp_path, plan):
    """By number, not by name."""
    made = [ensure(builder(tmp_path, ScriptedRunner(Programs())), plan, anew=True) for _ in range(10)]
    assert existing(plan) == made[-1]


def test_all_that_a_build_prints_is_kept_and_named_in_its_error(tmp_path, plan):
    """The tail in the error is for a glance; the cause may stand a thousand lines before."""
    lines = tuple(f"line {number}" for number in range(500))
    with pytest.raises(EnvironmentBuildError, match="all it said is in") as caught:
        ensure(builder(tmp_path, ScriptedRunner(Programs(install=[Completed(1, tail=lines)]))), plan)
    (log,) = (tmp_path / "logs" / "shop").iterdir()
    assert str(log) in caught.value.hint
    text = log.read_text()
    assert "line 0\nline 1\n" in text
    assert "installing dependencies" in text
    assert "cannot be installed" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("verb", "completed"),
    [("venv", Completed(None, 9)), ("lock", Completed(None, 15)), ("install", Completed(None, 9)), ("install", None)],
    ids=["venv killed", "lock killed", "install killed", "no network"],
)
def test_what_somebody_else_is_to_blame_for_may_be_tried_again(tmp_path, plan, verb, completed):
    """An installer that was killed, an index that is away: the type of the error says so."""
    failures = [completed] if completed else [UNREACHABLE] * 3
    with pytest.raises(BuildInterruptedError):
        ensure(builder(tmp_path, ScriptedRunner(Programs(**{verb: failures}))), plan)


def test_optional_groups_are_not_left_out_for_a_kill(tmp_path):
    """It says nothing of the packages, and the environment would lack them for ever."""
    plan = plan_of(tmp_path, optional_groups=True)
    with pytest.raises(BuildInterruptedError):
        ensure(builder(tmp_path, ScriptedRunner(Programs(install=[Completed(None, 9)]))), plan)
    assert ensure(builder(tmp_path, ScriptedRunner(Programs())), plan).optional_groups


def raising(error):
    def play(call):
        raise error

    return ScriptedRunner(play)


FULL_DISKS = {
    "an installer says so": ScriptedRunner(
        Programs(install=[Completed(1, tail=("[Errno 28] No space left on device",))])
    ),
    "we cannot write": raising(OSError(errno.ENOSPC, "No space left on device", "/x")),
    "quota": raising(OSError(errno.EDQUOT, "Disk quota exceeded", "/x")),
}


@pytest.mark.parametrize("runner", FULL_DISKS.values(), ids=FULL_DISKS)
def test_a_full_disk_is_reported_as_itself(tmp_path, plan, runner):
    """Which file system, and what to do; nothing half built stays to fill it."""
    with pytest.raises(BuildInterruptedError, match=r"the file system /.* is full; free some space there"):
        ensure(builder(tmp_path, runner), plan)
    assert list(plan.owner.iterdir()) == []


def test_a_full_disk_that_lets_no_program_start_is_one_too(tmp_path, plan):
    """Every program needs a few files of ours."""

    def play(call):
        raise SpawnError("shop.installer", "python3", error) from error

    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(BuildInterruptedError, match="is full"):
        ensure(builder(tmp_path, ScriptedRunner(play)), plan)


@pytest.mark.parametrize("is_spawn", [True, False])
def test_a_machine_that_lets_no_program_start_is_not_the_plugins_fault(tmp_path, plan, is_spawn):
    """Descriptors, memory, processes: there may be some by the next try."""
    error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def play(call):
        raise (SpawnError("shop.installer", "python3", error) if is_spawn else error) from error

    with pytest.raises(BuildInterruptedError, match="Too many open files"):
        ensure(builder(tmp_path, ScriptedRunner(play)), plan)


def test_offline_nothing_is_started_and_the_error_says_what_to_do(tmp_path, plan):
    """Neither for what is missing nor for what somebody wants anew; what is there is used."""
    with pytest.raises(EnvironmentBuildError, match=r"'shop'.*runs offline; start it once without --offline"):
        ensure(builder(tmp_path, ForbiddenRunner(), offline=True), plan)
    environment = ensure(builder(tmp_path, ScriptedRunner(Programs())), plan)
    assert ensure(builder(tmp_path, ForbiddenRunner(), offline=True), plan) == environment
    with pytest.raises(EnvironmentBuildError, match="runs offline"):
        ensure(builder(tmp_path, ForbiddenRunner(), offline=True), plan, anew=True)


def test_two_that_want_it_anew_get_the_same_one(tmp_path, plan):
    """Both asked for one that is newer than that which they knew."""
    ensure(builder(tmp_path, ScriptedRunner(Programs())), plan)

    async def both():
        shared = builder(tmp_path, Meeting())
        return await asyncio.gather(*(shared.ensure(plan, unheard, anew=True) for _ in range(2)))

    first, second = asyncio.run(both())
    assert first == second
    assert first.folder.name == f"{plan.fingerprint}.2"


class Meeting:
    """A play in which programs wait for each other: how many run at once is seen, not guessed."""

    def __init__(self):
        self.running = self.most = 0
        self.programs = Programs()

    async def run(self, command, *, name, cwd, environment, timeout, on_line=None):
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(20):
            await asyncio.sleep(0)
        self.running -= 1
        return await ScriptedRunner(self.programs).run(
            command, name=name, cwd=cwd, environment=environment, timeout=timeout, on_line=on_line
        )


def test_the_same_plugin_is_built_once_however_many_ask(tmp_path, plan):
    """Two Poetry processes in one venv would destroy it."""

    async def ask():
        shared = builder(tmp_path, runner, parallel=8)
        return await asyncio.gather(*(shared.ensure(plan, unheard) for _ in range(5)))

    runner = Meeting()
    assert len(set(asyncio.run(ask()))) == 1
    assert runner.most == 1


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_different_plugins_are_built_side_by_side_up_to_the_limit(tmp_path, parallel):
    """A slow build holds up no other, and fifty new plugins do not start fifty compilers."""

    async def ask():
        shared = builder(tmp_path, runner, parallel=parallel)
        plans = [plan_of(tmp_path, f"plugin{number}") for number in range(6)]
        await asyncio.gather(*(shared.ensure(plan, unheard) for plan in plans))

    runner = Meeting()
    asyncio.run(ask())
    assert runner.most == parallel


def test_a_folder_that_cannot_be_written_is_reported_for_the_plugin(tmp_path, plan):
    """A full or read-only disk fails this plugin with a sentence, not the supervisor with a traceback."""
    plan.owner.parent.mkdir()
    plan.owner.write_text("a file where a folder should be")
    with pytest.raises(EnvironmentBuildError, match="'shop'"):
        ensure(builder(tmp_path, ScriptedRunner(Programs())), plan)


class Stuck(SubprocessRunner):
    """Runs a program with a child of its own, both deaf to SIGTERM, in the place of every installer."""

    def __init__(self, report):
        super().__init__()
        self.script = (
            "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); pid = os.fork();"
            f"open({str(report)!r} + ('.child' if pid == 0 else '.parent'), 'w').write(str(os.getpid()));"
            "print('stuck', flush=True); time.sleep(600)"
        )

    async def run(self, command, *, name, cwd, environment, timeout, on_line=None):
        if "poetry" not in command:
            return await ScriptedRunner(Programs()).run(
                command, name=name, cwd=cwd, environment=environment, timeout=timeout, on_line=on_line
            )
        command = ["/usr/bin/env", "python3", "-c", self.script]
        return await super().run(command, name=name, cwd=cwd, environment=environment, timeout=timeout, on_line=on_line)


def is_gone(pid):
    """Dead, or a zombie that the container's init has not collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def until(condition, what):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("end", ["time limit", "cancelled"])
def test_an_installer_that_hangs_is_killed_with_its_children(tmp_path, plan, end):
    """Nothing of a build outlives it: compilers and downloads of a dead build would write into the next one."""
    reports = [tmp_path / "report.child", tmp_path / "report.parent"]

    async def scenario():
        limit = 1.5 if end == "time limit" else 60.0
        shared = builder(tmp_path, Stuck(tmp_path / "report"), time_limit=limit)
        build = asyncio.create_task(shared.ensure(plan, unheard), name="build")
        await until(lambda: all(r.exists() and r.read_text() for r in reports), "the installer has not started")
        if end == "cancelled":
            build.cancel()
        with pytest.raises((EnvironmentBuildError, asyncio.CancelledError)):
            await build
        await until(lambda: all(is_gone(report.read_text()) for report in reports), "something is still alive")

    asyncio.run(scenario())
    assert not (plan.folder / MARK).exists()


class Flood(SubprocessRunner):
    """An installer that prints a million lines, and one of them without an end, then fails."""

    async def run(self, command, *, name, cwd, environment, timeout, on_line=None):
        script = "import sys\nfor n in range(200_000): print('line', n)\nsys.stdout.write('x' * 5_000_000)\nsys.exit(3)"
        if "install" in command:
            command = ["/usr/bin/env", "python3", "-c", script]
        else:
            return await ScriptedRunner(Programs()).run(
                command, name=name, cwd=cwd, environment=environment, timeout=timeout, on_line=on_line
            )
        return await super().run(command, name=name, cwd=cwd, environment=environment, timeout=timeout, on_line=on_line)


@pytest.mark.slow
@pytest.mark.process
def test_an_installer_that_floods_its_output_fails_with_a_bounded_tail(tmp_path, plan):
    """The error goes to the log, the API and the database; a flood must not go with it."""
    seen = 0

    def count(line):
        nonlocal seen
        seen += 1

    with pytest.raises(EnvironmentBuildError, match="exit code 3") as caught:
        ensure(builder(tmp_path, Flood()), plan, count)
    assert seen > 200_000
    assert len(caught.value.log_tail) <= 50
    assert sum(map(len, caught.value.log_tail)) < 250_000


def test_two_builders_build_once(tmp_path, plan):
    """A supervisor, and the check of a plugin in another process: the later one finds what the first has built."""
    runner = ScriptedRunner(Programs())

    async def main():
        builders = [builder(tmp_path, runner) for _ in range(2)]
        return await asyncio.gather(*(one.ensure(plan, lambda _: None) for one in builders))

    first, second = asyncio.run(main())
    assert first == second
    assert runner.verbs.count("venv") == 1
