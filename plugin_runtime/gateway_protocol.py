"""The contract of gateways: what they tell the supervisor of the requests that come through them, and what of plugins
they are told in development mode.

Part of the contract, with the rules of protocol.py: frozen dataclasses, no behaviour, standard library only,
Python 3.9. The messages travel over the same control channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Refusal(str, Enum):
    """Why a gateway answered a plugin's request with an error of its own."""

    UNAVAILABLE = "unavailable"  # no worker, and none is to come
    PARKING_REQUESTS = "parking_requests"  # as many wait as may
    PARKING_BYTES = "parking_bytes"  # those that wait hold as much as they may
    PARKING_SECONDS = "parking_seconds"  # it has waited as long as it may
    OVERLOADED = "overloaded"  # max_in_flight
    DIED = "died"  # its worker died, and it could not be sent again
    FAILED = "failed"  # the application did, or what it answered is no HTTP
    TIMED_OUT = "timed_out"  # request_timeout
    BODY_TOO_LARGE = "body_too_large"  # gateway.max_body_mb


@dataclass(frozen=True)
class PluginTrouble:
    """Why a plugin is not served, or what it raised instead of an answer, for whoever develops it; told in development
    mode only.

    Fields are those of views.PluginError; none is set where nothing is wrong.
    """

    plugin: str
    phase: str = ""
    type: str = ""
    message: str = ""
    hint: str = ""
    location: str = ""
    excerpt: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)  # of a request: those of its traceback that are the plugin's own
    traceback: str = ""
    log_tail: list[str] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)  # last lines of its installer, while that runs


@dataclass(frozen=True)
class Wake:
    """A request waits for a plugin whose route says idle; said once per snapshot, however many wait."""

    plugin: str


@dataclass(frozen=True)
class PluginTraffic:
    """Requests of one plugin through one gateway: ``in_flight`` and ``parked`` are now, the others since its start."""

    in_flight: int = 0  # those that are parked included
    requests: int = 0
    parked: int = 0
    parked_total: int = 0
    resent: int = 0
    refused: dict[str, int] = field(default_factory=dict)  # by Refusal; a reason that was never needed is left out


@dataclass(frozen=True)
class Traffic:
    """Every plugin that was ever asked for anything, by name; sent with a beat, where a figure is another one."""

    plugins: dict[str, PluginTraffic]
