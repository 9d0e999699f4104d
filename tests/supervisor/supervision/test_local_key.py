"""Which processes may call plugins, as who, and by which key."""

from pathlib import Path

import pytest

from plugin_runtime.protocol import Caller, Kind
from supervisor.spec import ChildSpec
from supervisor.state_folder import StateFolder
from supervisor.supervision.local_key import caller_of, is_run, with_key

FOLDER = StateFolder(Path("/state"))


def spec(kind, id_, name="shop"):
    return ChildSpec(id_, name, kind, ("python",), Path("/"))


@pytest.mark.parametrize(
    ("kind", "id_", "name", "runs"),
    [
        (Kind.WORKER, "shop.1", "shop", False),
        (Kind.TASK, "shop", "task:shop", False),
        (Kind.JOB, "shop.clean.up.3f2a91c0", "job:shop.clean.up", True),
    ],
)
def test_a_caller_is_called_by_what_it_is(kind, id_, name, runs):
    """A plugin, a task and a job may have the same name."""
    told = with_key({"x": 1}, kind, "t1", FOLDER)
    assert (told["x"], told["local_path"]) == (1, "/state/run/local.sock")
    caller = caller_of(spec(kind, id_), told)
    assert caller == Caller(name, told["local_key"])
    assert is_run(caller) == runs


@pytest.mark.parametrize("kind", [Kind.GATEWAY, Kind.TEMPLATE, Kind.VALIDATOR, Kind.INSTALLER])
def test_nobody_else_gets_a_key(kind):
    """What only describes, or is forked from, does nothing for anybody."""
    assert with_key({"x": 1}, kind, "t1", FOLDER) == {"x": 1}
    assert caller_of(spec(kind, "shop.x"), {"local_key": "t1:x"}) is None


def test_a_process_of_a_former_version_has_no_key():
    """It was told of no local side, and makes no calls."""
    assert caller_of(spec(Kind.WORKER, "shop.1"), {}) is None
    assert caller_of(spec(Kind.WORKER, "shop.1"), {"local_key": ""}) is None


def test_every_key_is_another():
    """It says which incarnation it is of, and the rest cannot be guessed."""
    keys = {with_key({}, Kind.WORKER, "t1", FOLDER)["local_key"] for _ in range(2)}
    assert len(keys) == 2
    for key in keys:
        incarnation, _, secret = key.partition(":")
        assert (incarnation, len(bytes.fromhex(secret))) == ("t1", 16)
