"""Validating processes, played by a guest that does as told."""

import asyncio

import pytest

from plugin_runtime.protocol import Cause
from supervisor.preparation.validation import Validator
from tests.fakes.builds import build_of
from tests.fakes.process_table import process_table
from tests.fakes.processes import state_folder
from tests.fakes.waiting import settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]


@pytest.fixture
def run(tmp_path):
    def run(scenario, parallel=1):
        async def main():
            async with process_table(state_folder(tmp_path)) as table:
                exits = []
                await scenario(table, Validator(table.tree, table.around, exits.append, parallel), exits)

        asyncio.run(main())

    return run


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (("hello", "fail:no module named flask", "exit:70"), "no module named flask"),
        (("hello", "exit:9"), "importing the plugin ended its process: crash, exit code 9"),
        (("hello", "kill"), "importing the plugin ended its process: signal, signal 9"),
        (("exit:79",), "importing the plugin ended its process: start_failed, its Python is not supported"),
        (("hello", "exit:0"), "importing the plugin ended its process: finished, exit code 0"),
    ],
    ids=["failed", "exits", "killed", "old Python", "says nothing"],
)
def test_a_plugin_that_ends_its_validator_is_no_plugin(run, tmp_path, steps, expected):
    """Row 8: whatever happens while it is imported, it is an error with a sentence; nothing is tried again."""

    async def scenario(table, validator, exits):
        finding = await validator.validate(build_of(tmp_path, steps=("print:last words", *steps)))
        assert [failure.message for failure in finding.description.errors] == [expected]
        assert finding.log_tail == ["last words"]
        assert [(record.kind, record.name) for record in exits] == [("validator", "hello")]
        assert table.tree.children == []

    run(scenario)


def test_what_it_describes_is_the_finding(run, tmp_path):
    """And its process is not in the table any more."""

    async def scenario(table, validator, exits):
        finding = await validator.validate(build_of(tmp_path, steps=("hello", "description", "exit:0")))
        assert (finding.description.title, finding.description.errors) == ("Hello", [])
        assert table.tree.children == []

    run(scenario)


def test_an_import_that_never_ends_is_ended(run, tmp_path):
    """start_timeout counts for the validator, too."""

    async def scenario(table, validator, exits):
        build = build_of(tmp_path, steps=("hello", "pause"), start_timeout=0.2)
        (failure,) = (await validator.validate(build)).description.errors
        assert failure.message == "importing the plugin ended its process: start_timeout, signal 9"

    run(scenario)


def test_a_validator_that_cannot_be_started_says_why(run, tmp_path):
    """Not an endless wait."""

    async def scenario(table, validator, exits):
        build = build_of(tmp_path)
        object.__setattr__(build, "project", tmp_path / "gone")
        (failure,) = (await validator.validate(build)).description.errors
        assert "No such file or directory" in failure.message

    run(scenario)


@pytest.mark.parametrize("cause", [Cause.DISABLED, Cause.SHUTDOWN])
def test_cancelling_ends_the_process(run, tmp_path, cause):
    """Nobody waits for it any more: its plugin was disabled, unless xcore stops."""

    async def scenario(table, validator, exits):
        work = asyncio.create_task(validator.validate(build_of(tmp_path, steps=("hello", "pause"))))
        await until(lambda: table.tree.pids.get("hello.validator"), "it runs")
        if cause is Cause.SHUTDOWN:
            validator.given_up_for = cause
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert (table.tree.children, exits[0].cause) == ([], cause.value)

    run(scenario)


def test_one_that_is_given_up_twice_is_in_nobodys_way(run, tmp_path):
    """Disabled while a removal of its folder gives it up already; enabled again, it is validated."""

    async def scenario(table, validator, exits):
        stubborn = build_of(tmp_path, steps=("hello", "deaf", "pause"), stop_timeout=1.0)
        work = asyncio.create_task(validator.validate(stubborn))
        await until(lambda: table.tree.pids.get("hello.validator"), "it runs")
        work.cancel()
        await settle()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        finding = await validator.validate(build_of(tmp_path, steps=("hello", "description", "exit:0")))
        assert finding.description.title == "Hello"
        await until(lambda: table.tree.children == [], "the first one is gone, too")

    run(scenario)


def test_its_close_waits_for_those_that_were_given_up_twice(run, tmp_path):
    """Nobody else waits for them, and what they need is closed next."""

    async def scenario(table, validator, exits):
        stubborn = build_of(tmp_path, steps=("deaf", "hello", "pause"), stop_timeout=1.0)
        work = asyncio.create_task(validator.validate(stubborn))
        await until(
            lambda: any(child.incarnation and child.incarnation.connection for child in table.tree.children),
            "it is deaf by then",
        )
        work.cancel()
        await settle()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert exits == []
        await validator.close()
        assert ([record.name for record in exits], table.tree.children) == (["hello"], [])

    run(scenario)


def test_no_more_than_the_given_number_run_side_by_side(run, tmp_path):
    """Imports are all CPU."""

    async def scenario(table, validator, exits):
        builds = [build_of(tmp_path, name, steps=("hello", "description", "exit:0")) for name in ("a", "b", "c")]
        works = [asyncio.create_task(validator.validate(build)) for build in builds]
        seen = 0
        while not all(work.done() for work in works):
            seen = max(seen, len(table.tree.children))
            await asyncio.sleep(0.001)
        assert seen == 2
        assert all(not work.result().description.errors for work in works)

    run(scenario, parallel=2)
