"""What the supervisor is told of a gateway's requests."""

from gateway.traffic import Tallies
from plugin_runtime.gateway_protocol import PluginTraffic, Refusal, Traffic


def test_figures_are_told_where_they_have_changed():
    """A beat a second from each gateway must not repeat what is known, nor tell of plugins that nobody asked."""
    tallies = Tallies()
    tally = tallies.of("hello")
    tallies.of("other")
    assert tallies.news() is None
    tally.requests += 1
    tally.in_flight += 1
    tally.refused[Refusal.DIED] += 2
    figures = Traffic({"hello": PluginTraffic(1, 1, refused={"died": 2})})
    assert tallies.news() == figures
    assert tallies.news() is None
    tally.in_flight -= 1
    assert tallies.news() == Traffic({"hello": PluginTraffic(0, 1, refused={"died": 2})})
    tallies.forget_told()
    assert tallies.news() is not None


def test_the_gateway_s_own_figures_are_the_sums():
    """A beat has them."""
    tallies = Tallies()
    for plugin, requests in ("hello", 2), ("other", 3):
        tallies.of(plugin).requests = requests
        tallies.of(plugin).in_flight = 1
    assert (tallies.in_flight, tallies.requests) == (2, 5)
    assert tallies.of("hello") is tallies.of("hello")
