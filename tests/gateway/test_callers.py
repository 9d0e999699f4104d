"""Whose keys the local side takes."""

import pytest

from gateway.callers import Callers
from plugin_runtime.protocol import Caller

SHOP = Caller("shop", "t1:secret")


@pytest.fixture
def callers():
    made = Callers()
    made.replace([SHOP, Caller("other", "t2:another")])
    return made


def test_a_key_names_whose_it_is(callers):
    """The called plugin is told the plugin, not the key."""
    assert callers.find(b"t1:secret") == SHOP


@pytest.mark.parametrize(
    "key", [b"", b":", b"t1", b"t1:", b"t1:secre", b"t1:secrets", b"t1:another", b"t3:secret", b"\xff"]
)
def test_any_other_is_nobodys(callers, key):
    """Also one that is right in part."""
    assert callers.find(key) is None


def test_what_is_not_told_again_is_forgotten(callers):
    """A dead worker's key is worth nothing."""
    callers.replace([])
    assert callers.find(b"t1:secret") is None


def test_a_worker_without_a_key_opens_nothing():
    """One that a former version has started: no key must not become a key."""
    callers = Callers()
    callers.replace([Caller("shop", "")])
    assert callers.find(b"") is None
