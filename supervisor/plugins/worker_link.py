"""How gateways reach one worker incarnation: its link."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from plugin_runtime.protocol import WorkerSettings
from plugin_runtime.wire import from_wire, to_wire
from supervisor.state_folder import StateFolder

_SECRET_BYTES = 16


@dataclass(frozen=True)
class Link:
    """Where one incarnation of a worker listens for gateways."""

    incarnation: str
    path: str
    secret: bytes


def new_link(folder: StateFolder, incarnation: str) -> Link:
    """Of an incarnation that is about to be started; its secret is its own."""
    return Link(incarnation, str(folder.link_socket(incarnation)), secrets.token_bytes(_SECRET_BYTES))


def former_link(incarnation: str, settings: Mapping[str, Any]) -> Link:
    """Of one that runs already, by the settings it was told. Raises WireError where they are no worker's."""
    told = from_wire(WorkerSettings, dict(settings))
    return Link(incarnation, told.link_path, told.link_secret)


def linked_settings(settings: WorkerSettings, link: Link) -> dict[str, Any]:
    """Return the wire form of a worker's settings, with its link."""
    return dict(to_wire(replace(settings, link_path=link.path, link_secret=link.secret)))
