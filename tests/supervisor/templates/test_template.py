"""Real templates: what is forked from them, and what happens where that does not work."""

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from plugin_runtime.protocol import Cause, State
from plugin_runtime.task_protocol import ListThreads
from supervisor.processes.process_stat import read_process_stat
from supervisor.spec import Limits, RestartPolicy, RestartWhen, Timeouts
from supervisor.supervision.child_events import StopRequested
from supervisor.templates import module_list, template
from tests.fakes.processes import exists
from tests.fakes.template_scene import APP, CRASHES_WHEN_FORKED, PATIENCE, is_forked, running, template_scene
from tests.fakes.waiting import settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]

STOP = StopRequested(Cause.OPERATOR, "token:ci")
LEAVES = APP.replace("\n\nasync", "\nos._exit(7)\n\n\nasync", 1)
ONCE = RestartPolicy(RestartWhen.NEVER)


@pytest.fixture
def run(tmp_path):
    """Run a scenario with a template that is not started yet."""

    def run(scenario, app=APP):
        async def main():
            async with template_scene(tmp_path, app) as at:
                await scenario(at)

        asyncio.run(main())

    return run


async def ended(child):
    await asyncio.wait_for(child.settled.wait(), PATIENCE)


def test_a_child_waits_while_the_template_imports_and_is_forked_then(run):
    """Importing itself would take it no less; and what is forked is a child of the supervisor's, not the template's."""

    async def scenario(at):
        at.start("gated")
        await at.connected()
        child = at.worker()
        await settle()
        assert (child.state, child.pid) == (State.STARTING, None)
        at.gate.touch()
        await running(child)
        assert is_forked(child.pid)
        assert read_process_stat(child.pid).parent == os.getpid()
        assert os.getsid(child.pid) == child.pid
        assert child.pid != at.template.pid

    run(scenario)


def test_the_exit_and_the_output_of_what_was_forked_are_known(run):
    """It is reaped here, and its last lines are its own."""

    async def scenario(at):
        at.start()
        await at.ready()
        child = at.worker(restart=ONCE)
        await ended(child)
        (record,) = at.owner.exits
        assert (record.instance, record.cause, record.exit_code) == ("hello.1", "crash", 7)
        assert record.log_tail == [f"imported by {record.pid}"]
        assert at.template_exits == []

    run(scenario, LEAVES)


def test_many_children_are_forked_at_once(run):
    """Each has a process, and a name, of its own."""

    async def scenario(at):
        at.start()
        children = [at.worker(number) for number in range(1, 9)]
        for child in children:
            await running(child)
        assert len({child.pid for child in children}) == 8
        assert all(is_forked(child.pid) for child in children)
        assert all(child.pid == at.table.tree.pids[child.spec.id] for child in children)

    run(scenario)


def test_a_module_that_cannot_be_forked_is_named_and_left_to_the_processes(run, caplog):
    """A thread that an import leaves behind would not survive a fork; all the other modules do."""

    async def scenario(at):
        at.start("gated", "leaves_a_thread", "wave")
        await at.connected()
        waiting = at.worker(1)
        at.gate.touch()
        await running(waiting)
        later = await running(at.worker(2))
        assert [is_forked(child.pid) for child in (waiting, later)] in ([True, True], [False, True])
        assert [record.cause for record in at.template_exits] == ["start_failed"]
        at.learn("leaves_a_thread")
        assert at.learned == []  # known, and known to be unsafe

    run(scenario)
    (warning,) = [message for message in caplog.messages if "leaves_a_thread" in message]
    assert "the import of 'leaves_a_thread' leaves 1 thread behind" in warning
    assert warning.endswith("it goes on without that")


def test_a_template_with_too_many_such_modules_is_done_without(run, monkeypatch, caplog):
    """That environment is not made for forking: said once."""
    monkeypatch.setattr(template, "MOST_UNSAFE", 0)

    async def scenario(at):
        at.start("leaves_a_thread")
        await ended(at.template)
        child = await running(at.worker())
        assert not is_forked(child.pid)
        assert (at.template.state, at.template_exits[0].cause) == (State.FAILED, "start_failed")

    run(scenario)
    (warning,) = [message for message in caplog.messages if "processes start without it" in message]
    assert "the import of 'leaves_a_thread' leaves 1 thread behind" in warning


@pytest.mark.parametrize("how", ["kill(os.getpid(), 11)", "abort()", "_exit(7)"])
def test_what_does_not_survive_a_fork_is_executed_from_then_on(run, caplog, how):
    """A plugin that dies for having been forked would be forked again for ever, and never serve."""

    async def scenario(at):
        at.start()
        await at.ready()
        child = await running(at.worker(1))
        assert not is_forked(child.pid)
        assert [record.instance for record in at.owner.exits] == ["hello.1"]
        await ended(at.template)
        assert at.template.state is State.EXITED
        (note,) = at.notes
        assert "hello.1 dies before it is ready where it is forked" in note
        assert at.is_distrusted
        assert not is_forked((await running(at.worker(2))).pid)

    run(scenario, CRASHES_WHEN_FORKED.format(how=how))
    assert "nothing is forked in this environment any more" in caplog.text


def test_what_hangs_when_it_is_forked_is_executed_from_then_on(run):
    """The other way not to survive it: to wait for a lock that nobody holds any more."""

    async def scenario(at):
        at.start()
        await at.ready()
        child = await running(at.worker(timeouts=Timeouts(start=3.0, stop=2.0, term=1.0)))
        assert not is_forked(child.pid)
        assert ([record.cause for record in at.owner.exits], at.is_distrusted) == (["start_timeout"], True)

    run(scenario, CRASHES_WHEN_FORKED.format(how="read(os.pipe()[0], 1)"))


def test_code_that_dies_either_way_goes_on_being_forked(run):
    """It is broken, not the fork; mended, it shall start as soon as any other."""

    async def scenario(at):
        at.start()
        await at.ready()
        child = at.worker(restart=RestartPolicy(delay=0.0, jitter=0.0, limit=3, probe=None))
        await ended(child)
        assert [record.exit_code for record in at.owner.exits] == [7, 7, 7]
        assert (at.is_distrusted, at.template.state, at.notes) == (False, State.RUNNING, [])

    run(scenario, LEAVES)


def test_a_module_that_an_author_asked_for_and_is_not_there_is_named_once(run, caplog):
    """Of those that were seen elsewhere nothing is said: nobody wrote their names."""

    async def scenario(at):
        at.start("nowhere_at_all", preload=("wave", "pandsa"))
        await at.ready()
        await at.kill_template()
        await at.ready()
        (note,) = at.notes
        assert note.startswith("cannot import 'pandsa', which the key preload of plugin 'hello' names: ModuleNotFound")

    run(scenario)
    (warning,) = [message for message in caplog.messages if "cannot import" in message]
    assert "No module named 'pandsa'; name modules of Python or of its environment" in warning


def test_one_with_variables_of_its_own_is_executed(run):
    """A library that read them when it was imported has read those of the template."""

    async def scenario(at):
        at.start()
        await at.ready()
        same = at.environment()
        other = await running(at.worker(1, environment={**same, "HF_HOME": "/models"}))
        alike = await running(at.worker(2, environment={**same, "XCORE_DATA_DIR": "/data"}))
        assert [is_forked(child.pid) for child in (other, alike)] == [False, True]

    run(scenario)


def test_an_order_that_no_message_can_hold_is_no_fork(run, caplog):
    """Variables that are no UTF-8: a program can be given them, a template cannot be told."""

    async def scenario(at):
        at.start(environment={"ODD": "\udce9"})
        await at.ready()
        child = await running(at.worker(environment={**at.environment(), "ODD": "\udce9"}))
        assert not is_forked(child.pid)

    run(scenario)
    assert "surrogates not allowed" in caplog.text


def test_nobody_waits_for_ever_for_imports(run, monkeypatch):
    """A template that hangs in one saves no time."""
    monkeypatch.setattr(template, "PATIENCE", 0.3)

    async def scenario(at):
        at.start("gated")
        await at.connected()
        child = await running(at.worker())
        assert not is_forked(child.pid)
        at.gate.touch()
        await at.ready()
        assert is_forked((await running(at.worker(2))).pid)

    run(scenario)


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_libraries_that_patch_others_switch_it_off(run, library):
    """They want to be imported before what they patch."""

    async def scenario(at):
        at.start()
        await at.ready()
        at.learn(f"{library}.monkey")
        assert not is_forked((await running(at.worker())).pid)

    run(scenario)


def test_what_is_new_every_time_does_not_renew_it_for_ever(run, monkeypatch):
    """Names made up by a library, or by an enemy: the list is bounded, and so is the number of renewals."""
    monkeypatch.setattr(template, "QUIET", 0.0)
    monkeypatch.setattr(template, "MOST_RENEWALS", 1)
    monkeypatch.setattr(module_list, "MOST_MODULES", 4)

    async def scenario(at):
        at.start()
        await at.ready()
        at.learn("a" * 201, "no name", "x..y", "")
        assert at.learned == []
        at.learn("a.b", "c")
        await until(lambda: at.template_exits, "it is renewed")
        await at.ready()
        at.learn("d", "e", "f")
        assert at.learned == ["a.b", "c", "d"]
        await settle()
        assert (len(at.template_exits), at.template.state) == (1, State.RUNNING)

    run(scenario)


def test_a_template_that_crashes_while_it_starts_is_done_without(run):
    """It gets another try at once, for which they wait; then they wait no more."""

    async def scenario(at):
        at.start("crashes")
        child = await running(at.worker())
        assert not is_forked(child.pid)
        assert [record.exit_code for record in at.template_exits[:2]] == [3, 3]

    run(scenario)


def test_a_template_that_does_not_answer_is_replaced_and_the_child_executed(run, monkeypatch, caplog):
    """Nothing depends on a template: a stopped one costs FORK_TIMEOUT, once."""
    monkeypatch.setattr("supervisor.templates.template.FORK_TIMEOUT", 0.2)

    async def scenario(at):
        at.start()
        before = await at.ready()
        os.kill(before, signal.SIGSTOP)
        child = await running(at.worker())
        assert not is_forked(child.pid)
        await until(lambda: at.template_exits, "the template is killed")
        assert (at.template_exits[0].cause, at.template_exits[0].signal) == ("hang", signal.SIGKILL)
        assert await at.ready() != before
        assert is_forked((await running(at.worker(2))).pid)

    run(scenario)
    assert "cannot fork hello.1: no answer to Fork within 0.2 s; executing it instead" in caplog.text


def test_a_fork_that_comes_too_late_is_nobody(run, monkeypatch):
    """Its child has another process by then: it is refused, or swept."""
    monkeypatch.setattr("supervisor.templates.template.FORK_TIMEOUT", 0.2)
    monkeypatch.setattr("supervisor.supervision.transitions.STACKS_TIMEOUT", 3600.0)

    async def scenario(at):
        others = ours()
        at.start()
        template = await at.ready()
        os.kill(template, signal.SIGSTOP)
        child = await running(at.worker())
        os.kill(template, signal.SIGCONT)
        await at.template.questions.ask(at.template.send, ListThreads(), PATIENCE)  # answered after the late order
        await until(lambda: ours() - others == {template, child.pid}, "there is no third one")
        assert (child.state, at.owner.exits) == (State.RUNNING, [])

    run(scenario)


def test_a_template_that_dies_while_it_is_asked_costs_no_time(run):
    """Its end is an answer: the child is executed at once."""

    async def scenario(at):
        at.start()
        template = await at.ready()
        os.kill(template, signal.SIGSTOP)
        child = at.worker()
        await settle()
        os.kill(template, signal.SIGKILL)
        began = asyncio.get_running_loop().time()
        await until(lambda: child.pid, "it has a process")
        assert asyncio.get_running_loop().time() - began < 1
        await running(child)
        assert not is_forked(child.pid)

    run(scenario)


def test_a_template_that_is_lost_before_it_is_asked_is_not_asked(run):
    """The order leaves a turn of the event loop later; nobody waits for an answer to what was never sent."""

    async def scenario(at):
        at.start()
        await at.ready()
        child = at.worker()
        at.template.disconnected(at.template.incarnation.connection)
        began = asyncio.get_running_loop().time()
        await until(lambda: child.pid, "it has a process")
        assert asyncio.get_running_loop().time() - began < 1
        await running(child)
        assert not is_forked(child.pid)

    run(scenario)


def test_children_wait_for_the_second_try_of_a_template_not_for_the_third(run):
    """After its first crash it is back at once, after the next it would be worth no wait."""

    async def scenario(at):
        at.start("gated")
        await at.connected()
        children = [at.worker(number) for number in (1, 2)]
        await at.kill_template()
        await at.connected()
        assert [child.pid for child in children] == [None, None]
        await at.kill_template()
        for child in children:
            await running(child)
            assert not is_forked(child.pid)
        at.gate.touch()

    run(scenario)


def test_where_a_template_cannot_fork_the_child_is_executed(run, caplog):
    """It says why, and goes on as a template."""

    async def scenario(at):
        at.start()
        template = await at.ready()
        soft, hard = resource.prlimit(template, resource.RLIMIT_NOFILE)
        resource.prlimit(template, resource.RLIMIT_NOFILE, (3, hard))
        assert not is_forked((await running(at.worker(1))).pid)
        resource.prlimit(template, resource.RLIMIT_NOFILE, (soft, hard))
        assert is_forked((await running(at.worker(2))).pid)
        assert at.template.pid == template

    run(scenario)
    assert "cannot fork hello.1: cannot make a pipe: Too many open files; executing it instead" in caplog.text


def test_a_stop_while_it_waits_leaves_no_trace(run):
    """Nobody lived: no exit record, nothing in the run folder; and it can be started again."""

    async def scenario(at):
        at.start("gated")
        await at.connected()
        files = set(at.table.folder.run.iterdir())
        child = at.worker()
        child.post(STOP)
        assert (child.state, child.settled.is_set(), at.owner.exits) == (State.EXITED, True, [])
        assert set(at.table.folder.run.iterdir()) == files
        await at.table.tree.remove(child, Cause.OPERATOR, "operator")
        again = at.worker()
        at.gate.touch()
        await running(again)

    run(scenario)


def test_a_stop_while_the_fork_is_under_way_leaves_nothing(run):
    """It is too late to prevent the process, which is stopped as soon as it is known."""

    async def scenario(at):
        at.start()
        template = await at.ready()
        os.kill(template, signal.SIGSTOP)
        child = at.worker()
        await settle()
        child.post(STOP)
        assert (child.state, child.settled.is_set()) == (State.STARTING, False)
        os.kill(template, signal.SIGCONT)
        await ended(child)
        (record,) = at.owner.exits
        assert (record.cause, record.actor, child.state) == ("operator", "token:ci", State.EXITED)
        assert not exists(record.pid)
        assert len(list(at.table.folder.run.glob("*.out"))) == 1

    run(scenario)


def test_a_renewed_template_is_waited_for_and_has_the_settings_of_now(run, monkeypatch):
    """It is replaced because there is more to import: what is forked meanwhile comes from the next one."""
    monkeypatch.setattr(template, "QUIET", 0.0)

    async def scenario(at):
        at.start()
        before = await at.ready()
        elder = await running(at.worker(1))
        at.learn("json")
        assert at.learned == []  # it knows that
        at.learn("json", "gated")
        assert at.learned == ["gated"]
        await until(lambda: at.template.state is not State.RUNNING, "it is renewed")
        child = at.worker(2)
        await until(lambda: at.template_exits, "the old one is gone")
        await at.connected()
        assert (child.state, child.pid) == (State.STARTING, None)
        at.gate.touch()
        await running(child)
        assert is_forked(child.pid)
        assert at.template.pid != before
        assert (at.template_exits[0].cause, at.template_exits[0].exit_code) == ("recycle", 0)
        assert (elder.state, at.owner.exits) == (State.RUNNING, [])

    run(scenario)


def test_what_a_killed_template_has_forked_lives_on(run):
    """They are the supervisor's children; the template is replaced, and the next ones come from that."""

    async def scenario(at):
        at.start()
        before = await at.ready()
        child = await running(at.worker(1))
        pid = child.pid
        await at.kill_template()
        assert await at.ready() != before
        assert is_forked((await running(at.worker(2))).pid)
        assert (child.state, child.pid, at.owner.exits) == (State.RUNNING, pid, [])
        os.kill(pid, signal.SIGKILL)
        await until(lambda: at.owner.exits, "its death is known all the same")
        assert (at.owner.exits[0].pid, at.owner.exits[0].signal) == (pid, signal.SIGKILL)

    run(scenario)


def test_limits_hold_for_what_is_forked(run):
    """Open files, as for what is executed; the template keeps its own."""

    async def scenario(at):
        at.start()
        await at.ready()
        child = await running(at.worker(limits=Limits(open_files=123)))
        assert is_forked(child.pid)
        assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == (123, 123)
        assert resource.prlimit(at.template.pid, resource.RLIMIT_NOFILE) == resource.getrlimit(resource.RLIMIT_NOFILE)

    run(scenario)


def test_a_renewal_waits_while_processes_are_forked(run, monkeypatch):
    """At a start of everything they would wait for imports that they can do without."""
    monkeypatch.setattr(template, "QUIET", 3600.0)

    async def scenario(at):
        at.start()
        before = await at.ready()
        at.learn("wave")
        pending = at.renewal
        assert is_forked((await running(at.worker(1))).pid)
        assert (pending.cancelled(), at.renewal.cancelled(), at.template.pid) == (True, False, before)

    run(scenario)


def ours():
    """Pids of our children."""
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()))
