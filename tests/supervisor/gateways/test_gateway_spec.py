"""What a gateway is started with, and how it is told whether one that runs is what is wanted."""

import dataclasses
import json
import socket

import pytest

from plugin_runtime.protocol import GatewaySettings
from plugin_runtime.wire import from_wire
from supervisor.config.source import load
from supervisor.gateways import gateway_spec as module
from supervisor.gateways.gateway_spec import gateway_spec

URL = "http://127.0.0.1:8082"


@pytest.fixture
def specified(tmp_path):
    """The spec of a gateway under a configuration with this section ``gateway``."""

    def specified(number=1, url=URL, sections=None, development=False, **gateway):
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"gateway": gateway, **(sections or {})}))
        with socket.socket() as door, socket.socket(socket.AF_UNIX) as local:
            return gateway_spec(load(path, {}), number, door, local, url, development=development)

    return specified


def test_it_is_told_what_it_needs(specified):
    """The wire form that Welcome brings: the door, where it is reached, and its keys; not those of the door itself."""
    spec = specified(2, idle_timeout=5, host="127.0.0.2")
    settings = from_wire(GatewaySettings, dict(spec.settings))
    assert spec.id == "gateway.2"
    assert spec.pass_fds == (settings.listen_fd, settings.local_fd)
    assert (settings.url, settings.options["idle_timeout"]) == (URL, 5)
    assert not {"host", "port"} & settings.options.keys()


def test_gateways_of_one_configuration_are_of_one_generation(specified):
    """Whatever their number, the descriptors of the doors, and what is written where the default was."""
    one, other = specified(1), specified(2, idle_timeout=75)
    with socket.socket():  # so that the next descriptor is another one
        third = specified(1)
    assert one.generation == other.generation == third.generation
    assert one.settings["listen_fd"] != third.settings["listen_fd"]


@pytest.mark.parametrize(
    "change",
    [
        {"idle_timeout": 5},
        {"parking": {"seconds": 1}},
        {"trusted_proxies": ["10.0.0.1"]},
        {"processes": 2},
        {"url": "http://127.0.0.1:8083"},
        {"sections": {"supervisor": {"adopt_grace": 3}}},
        {"development": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_gateway_that_would_answer_differently_is_of_another_generation(specified, change):
    """By it a running one is known to be what is wanted, or not."""
    assert specified(**change).generation != specified().generation


def test_another_version_of_xcore_is_another_generation(specified, monkeypatch):
    """Its code is."""
    before = specified().generation
    monkeypatch.setattr(module, "__version__", "0.0.0")
    assert specified().generation != before


def test_what_only_the_supervisor_follows_is_no_other_generation(specified):
    """A gateway is not replaced for it."""
    sections = {"supervisor": {"sample_interval": 1}, "tasks": {"sweep": {"max_age": 1}}}
    plain, other = specified(), specified(sections=sections)
    assert dataclasses.replace(other, settings={}) == dataclasses.replace(plain, settings={}, pass_fds=other.pass_fds)
