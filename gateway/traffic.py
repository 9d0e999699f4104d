"""What becomes of requests to plugins in this gateway, counted per plugin."""

from collections import Counter
from dataclasses import dataclass, field

from plugin_runtime.gateway_protocol import PluginTraffic, Refusal, Traffic


@dataclass
class Tally:
    """One plugin's requests: ``in_flight`` and ``parked`` are now, the others since the start. Changed by exchanges."""

    in_flight: int = 0
    """Those that are parked included."""
    requests: int = 0
    parked: int = 0
    parked_total: int = 0
    resent: int = 0
    refused: Counter[Refusal] = field(default_factory=Counter)

    @property
    def figures(self) -> PluginTraffic:
        """As the supervisor is told."""
        refused = {reason.value: count for reason, count in self.refused.items()}
        return PluginTraffic(self.in_flight, self.requests, self.parked, self.parked_total, self.resent, refused)


class Tallies:
    """Owns the tallies; one is kept as long as the gateway lives, since its counters must never fall."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._told: Traffic | None = None

    def of(self, plugin: str) -> Tally:
        return self._tallies.setdefault(plugin, Tally())

    @property
    def in_flight(self) -> int:
        return sum(tally.in_flight for tally in self._tallies.values())

    @property
    def requests(self) -> int:
        return sum(tally.requests for tally in self._tallies.values())

    def news(self) -> Traffic | None:
        """Return all figures, or None where they are those of the last call."""
        asked = {plugin: tally.figures for plugin, tally in self._tallies.items() if tally.requests}
        figures = Traffic(asked)
        if figures == (self._told or Traffic({})):
            return None
        self._told = figures
        return figures

    def forget_told(self) -> None:
        """Whoever listens now has heard of nothing yet."""
        self._told = None
