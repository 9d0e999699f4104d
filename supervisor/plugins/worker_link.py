"""How one worker incarnation and the gateways reach each other: its link, and its key for calls of other plugins."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from plugin_runtime.protocol import Caller, WorkerSettings
from plugin_runtime.wire import from_wire, to_wire
from supervisor.state_folder import StateFolder

_SECRET_BYTES = 16


@dataclass(frozen=True)
class Link:
    """Where one incarnation of a worker listens for gateways, and what it is on their local side."""

    incarnation: str
    path: str
    secret: bytes
    caller: Caller


def new_link(folder: StateFolder, plugin: str, incarnation: str) -> Link:
    """Of an incarnation that is about to be started; its secrets are its own."""
    caller = Caller(plugin, f"{incarnation}:{secrets.token_hex(_SECRET_BYTES)}")
    return Link(incarnation, str(folder.link_socket(incarnation)), secrets.token_bytes(_SECRET_BYTES), caller)


def former_link(incarnation: str, settings: Mapping[str, Any]) -> Link:
    """Of one that runs already, by the settings it was told. Raises WireError where they are no worker's."""
    told = from_wire(WorkerSettings, dict(settings))
    return Link(incarnation, told.link_path, told.link_secret, Caller(told.plugin, told.local_key))


def linked_settings(settings: WorkerSettings, link: Link, folder: StateFolder) -> dict[str, Any]:
    """Return the wire form of a worker's settings, with its link."""
    linked = replace(
        settings,
        link_path=link.path,
        link_secret=link.secret,
        local_path=str(folder.local_socket),
        local_key=link.caller.key,
    )
    return dict(to_wire(linked))
