"""Settings of the gateway as it uses them: section ``gateway`` of config.json, sent in Welcome.

The supervisor has validated them; keys that are its own (host, port) are not repeated here.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from plugin_runtime import wire

MIB = 1024 * 1024

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class ParkingLimits:
    """How many requests may wait for a worker, with how much body, for how long."""

    requests: int = 1000
    mb: float = 64.0
    seconds: float = 30.0

    @property
    def bytes(self) -> int:
        return int(self.mb * MIB)


@dataclass(frozen=True)
class GatewayOptions:
    """Sizes in MiB, times in seconds, 0 = none."""

    processes: int = 1
    """Gateways that there are."""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    max_body_mb: float = 0.0
    idle_timeout: float = 75.0
    """Between requests only."""
    parking: ParkingLimits = field(default_factory=ParkingLimits)
    trusted_proxies: list[str] = field(default_factory=list)
    """Networks whose X-Forwarded-* fields are believed."""
    cors_origins: list[str] = field(default_factory=list)

    @property
    def max_body(self) -> int:
        """Bytes."""
        return int(self.max_body_mb * MIB)

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(text, strict=False) for text in self.trusted_proxies)


def options_from(section: dict[str, Any]) -> GatewayOptions:
    """Build the options from section ``gateway``; what is null or missing takes its default.

    Raises:
        WireError: a value of the wrong type, named by its path.
    """
    return wire.from_wire(GatewayOptions, {key: value for key, value in section.items() if value is not None})
