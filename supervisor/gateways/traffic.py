"""What became of requests to plugins, over all gateways. Pure."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import replace

from plugin_runtime.gateway_protocol import PluginTraffic
from plugin_runtime.views import TrafficView


class TrafficBook:
    """Adds up what gateways tell; counters never fall, also when a gateway's process is replaced by another one."""

    def __init__(self) -> None:
        self._told: dict[Hashable, Mapping[str, PluginTraffic]] = {}
        self._former: dict[str, TrafficView] = {}
        """What was counted by processes that are gone."""

    def told(self, gateway: Hashable, plugins: Mapping[str, PluginTraffic]) -> None:
        """``plugins``: all that this process has counted since its start, by name."""
        self._told[gateway] = plugins

    def gone(self, gateway: Hashable) -> None:
        """Its process has ended, and with it all requests that it had."""
        for plugin, figures in self._told.pop(gateway, {}).items():
            counted = replace(figures, in_flight=0, parked=0)
            self._former[plugin] = _sum(self._former.get(plugin, TrafficView()), counted)

    def of(self, plugin: str) -> TrafficView:
        """Of the last second, and since the start of the supervisor."""
        view = self._former.get(plugin, TrafficView())
        for plugins in self._told.values():
            if plugin in plugins:
                view = _sum(view, plugins[plugin])
        return view


def _sum(view: TrafficView, figures: PluginTraffic) -> TrafficView:
    return TrafficView(
        in_flight=view.in_flight + figures.in_flight,
        requests=view.requests + figures.requests,
        parked=view.parked + figures.parked,
        parked_total=view.parked_total + figures.parked_total,
        resent=view.resent + figures.resent,
        refused=dict(Counter(view.refused) + Counter(figures.refused)),
    )
