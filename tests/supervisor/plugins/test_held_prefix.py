"""The prefix of one plugin among all claims: never another's, never lost, and told of when it is given up."""

from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from supervisor.errors import PluginRefusedError
from supervisor.plugins.held_prefix import HeldPrefix
from supervisor.preparation.prefixes import Claims

PLUGINS = ("hello", "shop", "todo")
FREE = ("/a", "/a/b", "/A", "/")
SPELLINGS = (*FREE, "/a/", "/a/b/", "//", "/admin", "/docs/x", "no slash", "")
"""Of those that are to be had, and of some that nobody gets."""
GRANTED = {"/a": "/a", "/a/b": "/a/b", "/A": "/A", "/": "/", "/a/": "/a", "/a/b/": "/a/b"}


class Scene:
    """Plugins hello, which is looked at, and shop, which owns /shop."""

    def __init__(self):
        self.claims = Claims()
        self.dropped = []
        self.hello = HeldPrefix("hello", self.claims, lambda: self.dropped.append(self.hello.value), lambda: None)
        self.shop = HeldPrefix("shop", self.claims, lambda: None, lambda: None)
        self.shop.take("/shop")

    def state(self):
        """What hello holds, what the claims say of it, and what it held each time when it was told that it gave up."""
        return self.hello.value, self.claims.prefixes.get("hello", ""), self.dropped


@pytest.fixture
def at():
    return Scene()


@pytest.mark.parametrize(
    ("held", "act", "wanted", "holds", "dropped"),
    [
        ("", "take", "/a/", "/a", []),
        ("/a", "take", "/a/", "/a", []),
        ("/a", "take", "/b", "/b", ["/b"]),
        ("", "change", "/a/", "/a", []),
        ("/a", "change", "/a/", "/a", []),
        ("/a", "change", "/b", "/b", ["/b"]),
        ("", "take_former", "/a/", "/a", []),
        ("/a", "take_former", "/b", "/a", []),
        ("", "take_former", "/shop", "", []),
        ("", "take_meanwhile", "/a/", "/a", []),
        ("/a", "take_meanwhile", "/b", "/a", []),
        ("", "take_meanwhile", "", "", []),
        ("", "take_meanwhile", "/shop", "", []),
        ("", "take_meanwhile", "/admin", "", []),
        ("", "take_meanwhile", "no slash", "", []),
        ("/a", "check", "/b", "/a", []),
        ("/a", "check", "/a/", "/a", []),
    ],
)
def test_what_is_to_be_had_is_held(at, held, act, wanted, holds, dropped):
    """Whoever is told of a prefix that was given up sees already what is held instead."""
    if held:
        at.hello.take(held)
    getattr(at.hello, act)(wanted)
    assert at.state() == (holds, holds, dropped)


@pytest.mark.parametrize(
    ("held", "act", "holds", "dropped"),
    [
        ("", "take", "", []),
        ("/a", "take", "", [""]),
        ("", "change", "", []),
        ("/a", "change", "/a", []),
        ("", "check", "", []),
        ("/a", "check", "/a", []),
    ],
)
@pytest.mark.parametrize("wanted", ["/shop", "/shop/", "/admin/x", "no slash", ""])
def test_what_is_not_to_be_had_is_refused(at, held, act, wanted, holds, dropped):
    """A plugin that is brought up is left with none, since it is what it was no more; one that serves keeps its own."""
    if held:
        at.hello.take(held)
    with pytest.raises(PluginRefusedError, match="plugin 'hello' refused"):
        getattr(at.hello, act)(wanted)
    assert at.state() == (holds, holds, dropped)
    assert at.claims.owner("/shop") == "shop"


def test_a_release_is_told_once(at):
    """Of nothing there is nothing to be told."""
    at.hello.release()
    at.hello.take("/a")
    at.hello.release()
    at.hello.release()
    assert at.state() == ("", "", [""])


def test_a_prefix_is_free_before_anybody_is_told_of_it(at):
    """Who was refused is tried again in that very moment."""
    heirs = []
    at.shop = HeldPrefix("shop", at.claims, lambda: None, lambda: heirs.append(at.hello.take("/shop")))
    at.shop.take("/shop")
    at.shop.change("/store")
    assert (heirs, at.hello.value, at.shop.value) == ([None], "/shop", "/store")


def test_what_is_held_meanwhile_goes_to_who_claims_it_and_nobody_has_waited_for_it(at):
    """Nobody was ever refused for it; so nobody is to be told that it is free."""
    freed = []
    at.hello = HeldPrefix("hello", at.claims, lambda: at.dropped.append(at.hello.value), lambda: freed.append("hello"))
    at.hello.take_meanwhile("/a")
    at.shop.change("/a")
    assert at.state() == ("", "", [""])
    at.hello.take_meanwhile("/b")
    at.hello.take("/c")
    assert (at.state(), freed) == (("/c", "/c", ["", "/c"]), [])
    at.hello.release()
    assert freed == ["hello"]


class Holders(RuleBasedStateMachine):
    """Plugins that take, change and give up prefixes in any order; those that were refused try again at every drop."""

    @initialize()
    def set_up(self):
        self.claims, self.drops = Claims(), []
        self.held = {
            name: HeldPrefix(name, self.claims, partial(self.drops.append, name), self._freed) for name in PLUGINS
        }
        self.expected = dict.fromkeys(PLUGINS, "")
        self.waiting = {}

    def _freed(self):
        for waiting, prefix in list(self.waiting.items()):
            if prefix not in self.claims.prefixes.values():
                del self.waiting[waiting]
                self.held[waiting].take(prefix)
                self.expected[waiting] = prefix

    def _owner(self, prefix):
        return next((name for name, held in self.expected.items() if held == prefix), None)

    def _is_to_be_had(self, name, spelling):
        prefix = GRANTED.get(spelling)
        return prefix is not None and self._owner(prefix) in {None, name}

    def _act(self, name, act, spelling, otherwise):
        """Take or change; ``otherwise``: what it holds where it is refused. Drops are told of, all others not."""
        former, drops = self.expected[name], len(self.drops)
        granted = self._is_to_be_had(name, spelling)
        self.expected[name] = holds = GRANTED[spelling] if granted else otherwise
        self.waiting.pop(name, None)
        if granted:
            getattr(self.held[name], act)(spelling)
        else:
            with pytest.raises(PluginRefusedError):
                getattr(self.held[name], act)(spelling)
            if not otherwise and spelling in GRANTED:
                self.waiting[name] = GRANTED[spelling]
        assert (self.drops[drops : drops + 1] == [name]) == (former not in {"", holds})

    @rule(name=st.sampled_from(PLUGINS), spelling=st.sampled_from(SPELLINGS))
    def is_brought_up(self, name, spelling):
        self._act(name, "take", spelling, otherwise="")

    @rule(name=st.sampled_from(PLUGINS), spelling=st.sampled_from(SPELLINGS))
    def is_replaced(self, name, spelling):
        self._act(name, "change", spelling, otherwise=self.expected[name])

    @rule(name=st.sampled_from(PLUGINS), spelling=st.sampled_from(SPELLINGS))
    def holds_its_former(self, name, spelling):
        drops = list(self.drops)
        if not self.expected[name] and self._is_to_be_had(name, spelling):
            self.waiting.pop(name, None)
            self.expected[name] = GRANTED[spelling]
        self.held[name].take_former(spelling)
        assert self.drops == drops

    @rule(name=st.sampled_from(PLUGINS), spelling=st.sampled_from(SPELLINGS))
    def asks(self, name, spelling):
        """Whoever asks learns what ``change`` would do, and nothing changes."""
        if self._is_to_be_had(name, spelling):
            self.held[name].check(spelling)
        else:
            with pytest.raises(PluginRefusedError):
                self.held[name].check(spelling)

    @rule(name=st.sampled_from(PLUGINS))
    def leaves(self, name):
        former, self.expected[name] = self.expected[name], ""
        self.waiting.pop(name, None)
        drops = len(self.drops)
        self.held[name].release()
        assert (self.drops[drops : drops + 1] == [name]) == (former != "")

    @invariant()
    def each_holds_what_it_is_to_hold(self):
        assert {name: held.value for name, held in self.held.items()} == self.expected

    @invariant()
    def the_claims_say_the_same(self):
        """A claim that nobody holds would keep a prefix from everybody for ever."""
        assert dict(self.claims.prefixes) == {name: prefix for name, prefix in self.expected.items() if prefix}

    @invariant()
    def nobody_shares(self):
        prefixes = [held.value for held in self.held.values() if held.value]
        assert len(set(prefixes)) == len(prefixes)

    @invariant()
    def whoever_waits_waits_for_another(self):
        """What comes free is had at once by one that was refused."""
        assert all(self._owner(prefix) not in {None, name} for name, prefix in self.waiting.items())


TestHolders = pytest.mark.slow(Holders.TestCase)
TestHolders.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
