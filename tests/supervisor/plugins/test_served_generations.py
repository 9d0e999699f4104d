"""Which generations have served: what may serve again, after a restart as well, is never removed."""

import asyncio
import string
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from plugin_runtime.protocol import Kind
from supervisor.plugins.served_generations import ServedGenerations
from supervisor.preparation.generations import Served
from tests.fakes.builds import ScriptedPreparation
from tests.fakes.plugin_scene import FakePruning


class FakePrepared:
    """What a generation is made from, as far as anybody asks here."""

    def __init__(self, generation):
        self.build = SimpleNamespace(generation=SimpleNamespace(hash=generation))

    def __repr__(self):
        return self.build.generation.hash


class Scene:
    """Generations of plugin hello by name; ``start`` is what a supervisor does before anything serves."""

    def __init__(self, *names):
        self.preparation = ScriptedPreparation()
        self.pruning = FakePruning()
        self.children = []
        self.survivors = []
        self.generations = {name: FakePrepared(name) for name in names}
        self.preparation.kept = {("hello", name): prepared for name, prepared in self.generations.items()}
        self.folder = object()
        self.start()

    def start(self):
        """A supervisor that knows what the one before has written down, once it asks."""
        around = SimpleNamespace(survivors=SimpleNamespace(of=self._survivors_of))
        tree = SimpleNamespace(children=self.children)
        services = SimpleNamespace(preparation=self.preparation, pruning=self.pruning, around=around, tree=tree)
        self.served = ServedGenerations("hello", self.folder, services)

    def _survivors_of(self, plugin, kind):
        assert (plugin, kind) == ("hello", Kind.WORKER)
        return self.survivors

    def runs(self, name, plugin="hello"):
        """A process of it."""
        self.children.append(SimpleNamespace(spec=SimpleNamespace(name=plugin, generation=name)))

    def serves(self, *names):
        """One after the other."""
        for name in names:
            asyncio.run(self.served.note(self.generations[name]))

    def rolls_back_to(self, name):
        asyncio.run(self.served.note_rollback(self.generations[name]))

    def is_forgiven(self):
        """What was rolled back."""
        asyncio.run(self.served.forgive())

    def recalled(self):
        """By the next supervisor."""
        self.start()
        return asyncio.run(self.served.recall())

    def former(self):
        return asyncio.run(self.served.former())

    def is_withdrawn(self, name):
        return self.served.is_withdrawn(self.generations[name])

    @property
    def written(self):
        return self.preparation.served_generations.get("hello", Served())

    @property
    def kept(self):
        return self.preparation.pruned["hello"]


@pytest.fixture
def at():
    return Scene("one", "two", "three")


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ((), Served()),
        (("one",), Served("one")),
        (("one", "one"), Served("one")),
        (("one", "two"), Served("two", before="one")),
        (("one", "two", "two"), Served("two", before="one")),
        (("one", "two", "one"), Served("one", before="two")),
        (("one", "two", "three"), Served("three", before="two")),
    ],
)
def test_what_serves_and_what_did_before_is_written_down(at, served, expected):
    """One that serves anew, as after a restart by hand, has none but the one before it."""
    at.serves(*served)
    assert at.written == expected
    assert at.served.has_former == bool(expected.before)
    assert at.former() is at.generations.get(expected.before)
    assert at.recalled() is at.generations.get(expected.current)


def test_after_a_rollback_there_is_no_other_before_it(at):
    """What was rolled back from is not served again: not now, and not by the next supervisor."""
    at.serves("one", "two")
    at.rolls_back_to("one")
    assert at.written == Served("one", withdrawn="two")
    assert not at.served.has_former
    assert at.recalled() is at.generations["one"]
    assert (at.is_withdrawn("one"), at.is_withdrawn("two")) == (False, True)


def test_a_rollback_is_noted_for_as_long_as_it_holds(at):
    """The next supervisor tells of it, too: the folder does not say what serves, and nothing is wrong."""
    at.serves("one", "two")
    assert at.served.notes == []
    at.rolls_back_to("one")
    at.recalled()
    (note,) = at.served.notes
    assert note == (
        "generation one serves since the plugin was rolled back; "
        "to serve what its folder says: xcore plugin reload hello"
    )
    at.is_forgiven()
    assert at.served.notes == []


@pytest.mark.parametrize("order", ["the folder says something else", "the operator says so"])
def test_what_was_rolled_back_from_is_forgiven(at, order):
    """It is a generation like any other from then on."""
    at.serves("one", "two")
    at.rolls_back_to("one")
    if order == "the operator says so":
        at.is_forgiven()
        assert not at.is_withdrawn("two")
        at.serves("two")
        assert at.written == Served("two", before="one")
    else:
        at.serves("three")
        assert not at.is_withdrawn("two")
        assert at.written == Served("three", before="one")


def test_what_is_forgiven_is_forgiven_by_the_next_supervisor_too(at):
    """Although what serves is the same as before."""
    at.serves("one", "two")
    at.rolls_back_to("one")
    at.is_forgiven()
    at.serves("one")
    at.recalled()
    assert not at.is_withdrawn("two")


@pytest.mark.parametrize("by", ["the supervisor that rolled back", "the next one, before it has served anything"])
def test_what_is_forgiven_is_so_although_nothing_has_served_since(at, by):
    """The plugin is disabled, or what its folder says is refused; once it may serve again, the newest code does."""
    at.serves("one", "two")
    at.rolls_back_to("one")
    if by != "the supervisor that rolled back":
        at.start()
    at.is_forgiven()
    assert asyncio.run(at.served.recall()) is at.generations["one"]
    assert not at.is_withdrawn("two")
    assert at.recalled() is at.generations["one"]
    assert not at.is_withdrawn("two")


def test_what_is_not_kept_any_more_cannot_serve_again(at):
    """Somebody has cleaned up; nothing is made up instead."""
    at.serves("one", "two")
    at.preparation.kept.clear()
    assert at.served.has_former
    assert at.former() is None
    assert at.recalled() is None


def test_nothing_is_removed_that_somebody_stands_on(at):
    """Workers that still drain, tasks with its environment, what is about to serve, and what is rolled back from."""
    at.serves("one", "two")
    at.runs("old")
    at.runs("another", plugin="shop")
    at.pruning.needed["hello"] = {"a task's"}
    at.served.expect(FakePrepared("next").build)
    at.rolls_back_to("one")
    assert at.kept == {"one", "two", "old", "a task's", "next"}
    assert at.pruning.asked == 3


def test_workers_that_outlived_a_supervisor_are_known_by_their_generation(at):
    """Others are not taken over: they are of code that is not kept."""
    at.survivors.append(SimpleNamespace(generation="two"))
    assert [at.served.outlived(at.generations[name]) for name in ("one", "two")] == [False, True]


NAMES = tuple(string.ascii_lowercase[:5])


class History(RuleBasedStateMachine):
    """Generations that serve, are rolled back from and forgiven in any order, under one supervisor after the other."""

    @initialize()
    def set_up(self):
        self.at = Scene(*NAMES)
        self.order = []
        self.withdrawn = ""

    @rule(name=st.sampled_from(NAMES))
    def serves(self, name):
        """Whoever is withdrawn is not served, as a deployment sees to."""
        if self.at.is_withdrawn(name):
            return
        if self.order[-1:] != [name]:
            self.order.append(name)
            self.withdrawn = ""
        self.at.serves(name)

    @precondition(lambda self: self.at.served.has_former)
    @rule()
    def is_rolled_back(self):
        former = self.at.former()
        assert repr(former) == self.order[-2]
        self.withdrawn, self.order = self.order[-1], [repr(former)]
        self.at.rolls_back_to(repr(former))

    @precondition(lambda self: self.order)
    @rule()
    def is_reloaded_by_hand(self):
        self.at.is_forgiven()
        self.withdrawn = ""
        self.at.serves(self.order[-1])

    @precondition(lambda self: self.order)
    @rule()
    def supervisor_dies(self):
        assert repr(self.at.recalled()) == self.order[-1]

    @invariant()
    def all_that_may_serve_again_is_kept(self):
        if self.order:
            assert self.at.kept >= {*self.order[-2:], self.withdrawn} - {""}

    @invariant()
    def one_is_withdrawn_at_most(self):
        assert [name for name in NAMES if self.at.is_withdrawn(name)] == [self.withdrawn] * bool(self.withdrawn)

    @invariant()
    def the_former_one_is_another(self):
        assert self.at.served.has_former == (len(self.order) > 1)


TestHistory = pytest.mark.slow(History.TestCase)
TestHistory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
