"""How workers and gateways reach each other, and know each other again."""

from pathlib import Path

from plugin_runtime.protocol import Caller, WorkerSettings
from plugin_runtime.wire import from_wire
from supervisor.plugins.worker_link import former_link, linked_settings, new_link
from supervisor.state_folder import StateFolder

FOLDER = StateFolder(Path("/state"))
SETTINGS = WorkerSettings("shop", "app", "main:app", "/plugins/shop", "/copy", "/plugins/shop")


def test_every_incarnation_has_secrets_of_its_own():
    """Its key says which it is, and the rest cannot be guessed."""
    one, other = new_link(FOLDER, "shop", "t1"), new_link(FOLDER, "shop", "t1")
    assert (one.path, one.caller.plugin) == ("/state/run/t1.link", "shop")
    incarnation, _, secret = one.caller.key.partition(":")
    assert (incarnation, len(bytes.fromhex(secret))) == ("t1", 16)
    assert one.caller.key != other.caller.key
    assert one.secret != other.secret


def test_a_worker_is_told_all_of_its_link():
    """And where the local side is."""
    link = new_link(FOLDER, "shop", "t1")
    told = from_wire(WorkerSettings, linked_settings(SETTINGS, link, FOLDER))
    assert (told.plugin, told.link_path, told.link_secret) == ("shop", link.path, link.secret)
    assert (told.local_path, told.local_key) == ("/state/run/local.sock", link.caller.key)


def test_the_next_supervisor_knows_the_link_by_what_the_worker_was_told():
    """A worker that goes on is not told anything anew."""
    link = new_link(FOLDER, "shop", "t1")
    assert former_link("t1", linked_settings(SETTINGS, link, FOLDER)) == link


def test_a_worker_of_a_former_version_has_no_key():
    """It was told of no local side, and makes no calls."""
    link = new_link(FOLDER, "shop", "t1")
    settings = linked_settings(SETTINGS, link, FOLDER)
    del settings["local_path"], settings["local_key"]
    assert former_link("t1", settings).caller == Caller("shop", "")
