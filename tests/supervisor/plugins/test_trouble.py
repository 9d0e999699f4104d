"""What goes wrong with a plugin ends at its boundary: it is shown, and tried again where that may help."""

import asyncio

import pytest

from plugin_runtime.views import PluginError
from supervisor.errors import PluginRefusedError
from supervisor.plugins.held_prefix import HeldPrefix
from supervisor.plugins.trouble import PluginTrouble
from supervisor.preparation.prefixes import Claims
from supervisor.preparation.preparation import PreparationError
from supervisor.spec import RestartPolicy
from tests.fakes.moved_clock import MovedClock

POLICY = RestartPolicy(delay=1.0, max_delay=4.0, jitter=0.0, limit=3, window=100.0, probe=60.0)
LONG = 1e6
"""Seconds; longer than any delay."""

CODE = PluginError("import", "ImportError", "no module named flask", hint="add it", location="run.py:3")
DATABASE = PluginError("lifespan", "OperationalError", "the database is away")
KILLED = PluginError("environment", "BuildInterrupted", "the installer was killed")


class Scene:
    """The trouble of plugin hello, which holds no prefix yet; plugin shop owns /shop."""

    def __init__(self):
        self.clock = MovedClock()
        self.claims = Claims()
        self.claims.claim("shop", "/shop")
        self.held = HeldPrefix("hello", self.claims, lambda: None, lambda: None)
        self.trouble = PluginTrouble("hello", self.held, self.clock, POLICY)

    def guard(self, error=None):
        async def step():
            if error is not None:
                raise error

        asyncio.run(self.trouble.guard(step(), "cannot be served"))

    def fails(self, error):
        self.guard(PreparationError(error))

    def is_due_after(self, seconds):
        self.clock.advance(seconds)
        return self.trouble.is_due


@pytest.fixture
def at():
    return Scene()


def test_a_step_that_goes_well_changes_nothing(at, caplog):
    """What was wrong before stays until somebody knows that it is mended."""
    at.trouble.error = CODE
    at.guard()
    assert (at.trouble.error, at.trouble.awaits_prefix, at.held.value, caplog.text) == (CODE, False, "", "")


def test_what_cannot_be_prepared_is_shown_and_its_callers_learn_of_it(at, caplog):
    """Under the default prefix, since its code cannot say another."""
    at.fails(CODE)
    assert (at.trouble.error, at.held.value) == (CODE, "/app/hello")
    assert "Plugin hello cannot be served (import): no module named flask (run.py:3); add it" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("holds", ["/former", ""])
def test_a_prefix_that_is_held_or_not_to_be_had_is_left_alone(at, holds):
    """The one of an earlier life is where its callers look; the default may be another's."""
    if holds:
        at.held.take(holds)
    else:
        at.claims.claim("other", "/app/hello")
    at.fails(CODE)
    assert at.held.value == holds


def test_what_is_refused_waits_for_a_prefix(at, caplog):
    """It is the operator's to read, and nothing that time would heal."""
    at.guard(PluginRefusedError("hello", "prefix '/shop' belongs to plugin 'shop'", hint="choose another"))
    error = at.trouble.error
    assert (error.phase, error.type, error.hint) == ("manifest", "PluginRefused", "choose another")
    assert at.trouble.awaits_prefix
    assert not at.is_due_after(LONG)
    assert "prefix '/shop' belongs to plugin 'shop'; choose another" in caplog.text
    at.trouble.begin(anew=False)
    assert not at.trouble.awaits_prefix


def test_a_mistake_of_ours_is_the_trouble_of_one_plugin_only(at, caplog):
    """Its traceback is for our log; people are told where to look."""
    at.guard(ZeroDivisionError("by the number of plugins"))
    assert (at.trouble.error.phase, at.trouble.error.type) == ("internal", "ZeroDivisionError")
    assert "by the number" not in at.trouble.error.message
    assert "Traceback" in caplog.text


def test_whoever_gives_up_a_step_is_not_told_that_it_failed(at):
    """A plugin that is disabled meanwhile has no trouble, and must not hold a prefix again."""
    with pytest.raises(asyncio.CancelledError):
        at.guard(asyncio.CancelledError())
    assert (at.trouble.error, at.held.value) == (None, "")


@pytest.mark.parametrize(
    ("error", "heals"),
    [(CODE, False), (DATABASE, True), (KILLED, True), (PluginError("manifest", "PluginInvalid", "no app"), False)],
    ids=["code", "database", "installer", "manifest"],
)
def test_only_what_may_heal_by_itself_is_due_again(at, error, heals):
    """The rest waits for a save."""
    at.fails(error)
    assert at.is_due_after(LONG) is heals


def test_tries_come_later_and_later_until_there_is_something_new_to_be_tried(at):
    """With jitter left out. Who asks for a try does not get more of them, new code does."""
    delays = []
    for _ in range(4):
        at.trouble.begin(anew=False)
        assert not at.trouble.is_due
        at.fails(DATABASE)
        delays.append(next(after for after in (0.0, 1.0, 2.0, 60.0) if at.is_due_after(after)))
    assert delays == sorted(delays)
    assert delays[-1] == 60.0
    at.trouble.begin(anew=True)
    at.fails(DATABASE)
    assert at.trouble.is_due


def test_nothing_is_due_once_it_is_mended_or_not_wanted_any_more(at):
    """A plugin that was disabled is not brought up by a timer."""
    at.fails(DATABASE)
    at.trouble.awaits_prefix = True
    at.trouble.clear()
    assert (at.trouble.error, at.trouble.awaits_prefix) == (None, False)
    assert not at.is_due_after(LONG)


@pytest.mark.parametrize(
    ("error", "still_anew"), [(KILLED, True), (CODE, False)], ids=["installer killed", "dependencies at odds"]
)
def test_an_environment_that_was_asked_for_is_built_at_the_next_try_where_there_is_one(at, error, still_anew):
    """Whoever asked for it may have gone, but nobody shall wait for one that cannot be built."""
    at.trouble.begin(anew=True, builds_anew=True)
    at.fails(error)
    at.trouble.begin(anew=False)
    assert at.trouble.builds_anew is still_anew


def test_new_code_does_not_wait_for_an_environment_that_it_can_do_without(at):
    """Nor does it once that has been built."""
    for forget in (lambda: at.trouble.begin(anew=True), lambda: setattr(at.trouble, "builds_anew", False)):
        at.trouble.begin(anew=True, builds_anew=True)
        assert at.trouble.builds_anew
        forget()
        assert not at.trouble.builds_anew
