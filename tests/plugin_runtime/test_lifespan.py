"""Start-up and shutdown of apps, well-behaved and not."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette

from plugin_runtime.lifespan import Lifespan, LifespanFailedError


def run_through(app, *, timeout=5.0) -> Lifespan:
    async def main():
        lifespan = Lifespan(app)
        try:
            await lifespan.startup(timeout)
        finally:
            await lifespan.shutdown(timeout)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return lifespan

    return asyncio.run(main())


def starlette(*, before=None, after=None):
    @asynccontextmanager
    async def lifespan(app):
        if before:
            raise before
        yield {"answer": 42}
        if after:
            raise after

    return Starlette(lifespan=lifespan)


def test_state_of_the_lifespan_is_kept_for_requests():
    """What start-up made is what scope["state"] holds later."""
    assert run_through(starlette()).state == {"answer": 42}


@pytest.mark.parametrize("error", [ConnectionError("away"), SystemExit(3)], ids=["error", "exit"])
def test_a_failed_start_up_carries_what_was_raised(error):
    """Its line in the plugin's code is found by it; an exit does not take the loop along."""
    with pytest.raises(LifespanFailedError) as raised:
        run_through(starlette(before=error))
    assert raised.value.__cause__ is error


def test_startup_failed_without_an_exception_says_its_message():
    """The protocol allows an app to say so and return."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no licence"})

    with pytest.raises(LifespanFailedError, match="no licence"):
        run_through(app)


def test_a_start_up_that_takes_too_long_is_cancelled():
    """The supervisor has other instances to start; the message says how long was allowed."""
    cancelled = []

    async def app(scope, receive, send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(LifespanFailedError, match=r"longer than 0\.01 s"):
        run_through(app, timeout=0.01)
    assert cancelled == [True]


async def raises_at_once(scope, receive, send):
    raise ValueError("HTTP only")


async def raises_after_receive(scope, receive, send):
    event = await receive()
    event["body"]


async def returns_at_once(scope, receive, send):
    return


@pytest.mark.parametrize(
    ("app", "words"),
    [(raises_at_once, ""), (returns_at_once, ""), (raises_after_receive, "KeyError: 'body'")],
)
def test_an_app_without_lifespan_is_served_without(app, words, capsys):
    """As other servers take it. What might have been a failed start-up is told on stderr."""
    assert run_through(app).state == {}
    errors = capsys.readouterr().err
    assert (words in errors) if words else errors == ""


def test_an_app_that_answers_and_ends_in_one_go_has_started():
    """The answer counts, though the task is over when it is read."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})

    assert run_through(app)._supported


def test_a_failed_shutdown_is_told_and_changes_nothing(capsys):
    """Nothing depends on it any more."""
    run_through(starlette(after=RuntimeError("cannot save")))
    assert "cannot save" in capsys.readouterr().err


def test_a_shutdown_that_takes_too_long_is_given_up(capsys):
    """The process ends in any case."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await asyncio.Event().wait()

    async def main():
        lifespan = Lifespan(app)
        await lifespan.startup(5)
        await lifespan.shutdown(0.01)

    asyncio.run(main())
    assert "longer than 0.01 s" in capsys.readouterr().err


def test_cancelling_the_start_up_cancels_the_app():
    """A Stop that comes during start-up leaves nothing behind."""

    async def app(scope, receive, send):
        await asyncio.Event().wait()

    async def main():
        starting = asyncio.create_task(Lifespan(app).startup(60))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
