"""Requests of plugins, over all gateways."""

from plugin_runtime.gateway_protocol import PluginTraffic
from plugin_runtime.views import TrafficView
from supervisor.gateways.traffic import TrafficBook


def test_figures_of_all_gateways_add_up():
    """People ask about the plugin, not about a gateway."""
    book = TrafficBook()
    assert book.of("hello") == TrafficView()
    book.told(1, {"hello": PluginTraffic(1, 10, 1, 2, 3, {"died": 1})})
    book.told(2, {"hello": PluginTraffic(2, 20, refused={"died": 1, "failed": 4}), "other": PluginTraffic(requests=1)})
    assert book.of("hello") == TrafficView(3, 30, 1, 2, 3, {"died": 2, "failed": 4})
    assert book.of("other") == TrafficView(requests=1)


def test_what_is_told_again_replaces_what_was_told_before():
    """A gateway tells what it has counted since its start, not since it last spoke."""
    book = TrafficBook()
    book.told(1, {"hello": PluginTraffic(1, 10)})
    book.told(1, {"hello": PluginTraffic(0, 12)})
    assert book.of("hello") == TrafficView(0, 12)


def test_counters_do_not_fall_when_a_gateway_is_replaced():
    """Its successor counts from 0; what was in flight there is over."""
    book = TrafficBook()
    book.told(1, {"hello": PluginTraffic(2, 10, 1, 5, 1, {"died": 1})})
    book.gone(1)
    book.gone(1)
    assert book.of("hello") == TrafficView(0, 10, 0, 5, 1, {"died": 1})
    book.told(1, {"hello": PluginTraffic(1, 1)})
    assert book.of("hello") == TrafficView(1, 11, 0, 5, 1, {"died": 1})
