"""Settings of the gateway."""

import ipaddress

import pytest

from gateway.settings import GatewayOptions, ParkingLimits, options_from
from plugin_runtime.wire import WireError


def test_what_is_missing_or_null_takes_its_default():
    """The supervisor sends its whole section, with keys that are not ours."""
    section = {"port": 8082, "ssl_certfile": None, "parking": {"requests": 5}, "idle_timeout": 3}
    options = options_from(section)
    assert options.parking == ParkingLimits(requests=5)
    assert (options.ssl_certfile, options.idle_timeout) == ("", 3.0)
    assert options_from({}) == GatewayOptions()


def test_sizes_are_mebibytes():
    """As in config.json."""
    options = options_from({"max_body_mb": 2, "parking": {"mb": 0.5}})
    assert (options.max_body, options.parking.bytes) == (2 * 1024 * 1024, 512 * 1024)


def test_a_proxy_may_be_an_address_or_a_network():
    """Host bits are forgiven: people write the address they know."""
    options = options_from({"trusted_proxies": ["10.1.2.3/8", "::1"]})
    assert options.trusted_networks == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1"))


def test_a_value_of_the_wrong_type_is_named():
    """The supervisor validates; this is for versions that differ."""
    with pytest.raises(WireError, match="idle_timeout"):
        options_from({"idle_timeout": "long"})
