"""The table of operations: every failure is an answer."""

import asyncio
import logging

import pytest

from plugin_runtime.protocol import MAX_CONTROL_FRAME, Call, Error, Result
from plugin_runtime.views import TokenView
from plugin_runtime.wire import Decoder
from supervisor.channels.operations import Operations, encode_answer
from supervisor.errors import PluginRefusedError, TookTooLongError, UnknownNameError
from supervisor.store.audit import AuditEntry


async def view() -> list:
    return [TokenView("1", "ci", "admin", 1.0, None)]


async def who(actor: str, times: int = 1) -> str:
    return actor * times


async def refuse() -> None:
    raise PluginRefusedError("shop", "its name is empty", hint="rename its folder")


async def be_slow() -> None:
    raise TookTooLongError("the restart", 3.0)


async def break_down() -> None:
    raise ZeroDivisionError("secret detail")


@pytest.fixture
def operations():
    table = Operations()
    table.register({"view": view, "who": who, "refuse": refuse, "slow": be_slow, "broken": break_down})
    return table


def perform(operations, operation, actor="token:ci", **arguments):
    return asyncio.run(operations.perform(Call(operation, arguments, actor)))


def test_a_value_comes_back_in_its_wire_form(operations):
    """Dataclasses become maps, as HTTP and the command socket carry them."""
    (token,) = perform(operations, "view").value
    assert (token["name"], token["expires"]) == ("ci", None)


def test_the_actor_is_the_callers_and_cannot_be_given_as_an_argument(operations):
    """Who did it is the word of the gateway or of the kernel."""
    assert perform(operations, "who", times=2) == Result("token:citoken:ci")
    call = Call("who", {"actor": "operator"}, "token:ci")
    assert asyncio.run(operations.perform(call)) == Result("token:ci")
    assert perform(operations, "view", actor="x") == perform(operations, "view")
    assert asyncio.run(operations.perform(Call("view", {"actor": "operator"}))).status == 422


@pytest.mark.parametrize(
    ("operation", "arguments", "expected"),
    [
        ("nothing", {}, ("UnknownName", 404, "no operation named 'nothing'")),
        ("who", {"size": 1}, ("Arguments", 422, "cannot call who: got an unexpected keyword argument 'size'")),
        ("refuse", {}, ("PluginRefused", 409, "plugin 'shop' refused: its name is empty")),
        ("slow", {}, ("TookTooLong", 504, "the restart is not done after 3 s")),
        ("broken", {}, ("ZeroDivisionError", 500, "broken failed inside xcore")),
    ],
)
def test_a_failure_is_an_answer(operations, operation, arguments, expected, caplog):
    """With the status that fits; what failed inside says nothing of our insides, the log has it."""
    caplog.set_level(logging.INFO)
    answer = perform(operations, operation, **arguments)
    assert isinstance(answer, Error)
    assert (answer.type, answer.status) == expected[:2]
    assert answer.message.startswith(expected[2])
    assert "secret detail" not in answer.message
    assert f"{operation} by token:ci failed after" in caplog.text


def test_a_missing_argument_is_the_callers_mistake(operations):
    """422, with what it takes."""

    async def stop(name: str) -> None: ...

    operations.register({"stop": stop})
    answer = perform(operations, "stop")
    assert (answer.status, answer.message) == (
        422,
        "cannot call stop: missing a required argument: 'name'; it takes name",
    )


def test_a_name_is_given_out_once(operations):
    """Two parts that claim the same operation are a mistake of ours."""
    with pytest.raises(ValueError, match="operations registered twice: view"):
        operations.register({"view": view})


class Record:
    """Keeps entries, or fails."""

    def __init__(self):
        self.entries = []
        self.error = None

    async def audit(self, entry):
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.entries.append(entry)


class MovedClock:
    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now

    def monotonic(self):
        return self.now


@pytest.fixture
def record():
    return Record()


@pytest.fixture
def clock():
    return MovedClock()


@pytest.fixture
def audited(record, clock):
    """A table whose operations are all on record, but ``view``."""

    async def restart(name: str, actor: str, wait: float = 0.0, password: str = "") -> str:
        clock.now += wait
        return name

    table = Operations(record.audit, clock)
    table.register({"view": view})
    handlers = {"restart": restart, "refuse": refuse, "slow": be_slow, "broken": break_down}
    table.register(handlers, audited=frozenset(handlers))
    return table


def test_an_audited_operation_is_on_record_when_it_is_answered(audited, record):
    """Who asked for what and when, and what came of it; no secrets."""
    assert perform(audited, "restart", name="hello", wait=5.0, password="hunter2") == Result("hello")
    (entry,) = record.entries
    expected = AuditEntry(
        1000.0, "token:ci", "restart", "hello", "succeeded", {"wait": 5.0, "password": "***"}, id=entry.id
    )
    assert entry == expected


@pytest.mark.parametrize(
    ("operation", "arguments", "outcome"),
    [
        ("refuse", {}, "PluginRefused"),
        ("slow", {}, "TookTooLong"),
        ("broken", {}, "ZeroDivisionError"),
        ("restart", {}, "Arguments"),
        ("restart", {"name": "hello", "actor": "operator", "size": 1}, "Arguments"),
    ],
)
def test_an_attempt_that_failed_is_on_record_too(audited, record, operation, arguments, outcome):
    """It may have been done in part; and who tried what they may not is worth knowing."""
    call = Call(operation, arguments, "token:ci")
    assert isinstance(asyncio.run(audited.perform(call)), Error)
    assert [(entry.action, entry.actor, entry.outcome) for entry in record.entries] == [
        (operation, "token:ci", outcome)
    ]


def test_what_changes_nothing_is_not_on_record(audited, record):
    """Nor what does not exist: there is nothing to do."""
    perform(audited, "view")
    perform(audited, "nothing")
    assert record.entries == []


def test_an_operation_that_nobody_waited_for_is_on_record(record):
    """Whoever asked went away, or xcore ends: what was begun may be done all the same."""

    async def main():
        begun = asyncio.Event()

        async def install(name: str) -> None:
            begun.set()
            await asyncio.Event().wait()

        table = Operations(record.audit)
        table.register({"install": install}, audited={"install"})
        task = asyncio.create_task(table.perform(Call("install", {"name": "hello"}, "operator")))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [(entry.target, entry.outcome) for entry in record.entries] == [("hello", "cancelled")]


def test_a_record_that_fails_does_not_make_the_operation_fail(audited, record, caplog):
    """What is done is done; the log says that it is not on record."""
    record.error = RuntimeError("broken pen")
    assert perform(audited, "restart", name="hello") == Result("hello")
    assert "Cannot put restart by token:ci on record" in caplog.text
    assert "broken pen" in caplog.text


def test_only_what_is_registered_can_be_audited(operations):
    """A misspelt name would mean that nothing is on record."""
    with pytest.raises(ValueError, match=r"audited but not registered: tasks\.stopp"):
        operations.register({"tasks.stop": view}, audited={"tasks.stopp"})
    assert perform(operations, "tasks.stop").status == 404


def test_an_answer_that_no_frame_can_hold_becomes_an_error():
    """Nobody waits in vain, and the connection stays."""
    for value in ("x" * (MAX_CONTROL_FRAME + 1), {"a": {1, 2}}, "\udcff"):
        (envelope,) = Decoder().feed(encode_answer(Result(value), 7))
        assert (envelope.id, envelope.message.type) == (7, "NotSendable")


def test_known_names_are_suggested():
    """The message says what there is."""
    error = UnknownNameError("plugin", "shp", ["shop", "hello"])
    assert str(error) == "no plugin named 'shp'; known: hello, shop"
