"""How gateways reach workers, and know them again."""

from pathlib import Path

from plugin_runtime.protocol import WorkerSettings
from plugin_runtime.wire import from_wire
from supervisor.plugins.worker_link import former_link, linked_settings, new_link
from supervisor.state_folder import StateFolder

FOLDER = StateFolder(Path("/state"))
SETTINGS = WorkerSettings("shop", "app", "main:app", "/plugins/shop", "/copy", "/plugins/shop")


def test_every_incarnation_has_a_secret_of_its_own():
    """It cannot be guessed."""
    one, other = new_link(FOLDER, "t1"), new_link(FOLDER, "t1")
    assert one.path == "/state/run/t1.link"
    assert one.secret != other.secret


def test_a_worker_is_told_all_of_its_link():
    """And what it was to be told besides."""
    link = new_link(FOLDER, "t1")
    told = from_wire(WorkerSettings, linked_settings(SETTINGS, link))
    assert (told.plugin, told.link_path, told.link_secret) == ("shop", link.path, link.secret)


def test_the_next_supervisor_knows_the_link_by_what_the_worker_was_told():
    """A worker that goes on is not told anything anew."""
    link = new_link(FOLDER, "t1")
    assert former_link("t1", linked_settings(SETTINGS, link)) == link
