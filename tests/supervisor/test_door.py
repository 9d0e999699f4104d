"""The listening socket."""

import asyncio
import json
import socket

import pytest

from supervisor.config.source import load
from supervisor.door import bind_door, url_of, wait_for_door
from supervisor.errors import ConfigurationError
from tests.fakes.waiting import DEADLINE, settle


@pytest.fixture
def configured(tmp_path):
    """A configuration with this section ``gateway``."""

    def configured(**gateway):
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"gateway": gateway}))
        return load(path, {})

    return configured


def test_port_0_is_any_free_port_and_the_url_says_which(configured):
    """The real one is announced; a client can connect at once, before any gateway accepts."""
    with bind_door(configured(port=0)) as door:
        port = door.getsockname()[1]
        assert port > 0
        assert url_of(door, tls=False) == f"http://127.0.0.1:{port}"
        assert url_of(door, tls=True) == f"https://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE):
            pass


@pytest.mark.parametrize(
    ("host", "shown"), [("::1", "[::1]"), ("::", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("localhost", None)]
)
def test_the_url_is_one_that_works_from_here(configured, host, shown):
    """IPv6 in brackets; whatever listens everywhere is reached over loopback."""
    with bind_door(configured(host=host, port=0)) as door:
        url = url_of(door, tls=False)
        assert shown is None or url == f"http://{shown}:{door.getsockname()[1]}"
        address = url.removeprefix("http://").rpartition(":")[0].strip("[]")
        with socket.create_connection((address, door.getsockname()[1]), timeout=DEADLINE):
            pass


def test_a_port_that_is_taken_is_one_clear_error(configured):
    """With the file, what was tried, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        configuration = configured(port=port)
        with pytest.raises(ConfigurationError) as caught:
            bind_door(configuration)
    assert str(caught.value) == (
        f"{configuration.path}: gateway: cannot listen on 127.0.0.1 port {port}: {caught.value.__cause__.strerror}; "
        "set gateway.port to another one, or to 0 for any that is free"
    )


def test_a_name_that_does_not_resolve_is_the_same_kind_of_error(configured, monkeypatch):
    """Whatever the resolver raises."""

    def fail(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ConfigurationError, match="cannot listen on nowhere port 0: Name or service not known"):
        bind_door(configured(host="nowhere", port=0))


def test_a_port_that_a_dying_gateway_still_holds_is_waited_for(configured):
    """Its supervisor died; it leaves when it hears of that."""

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as held:
            configuration = configured(port=held.getsockname()[1])
            waiting = asyncio.create_task(wait_for_door(configuration, DEADLINE))
            await settle()
            assert not waiting.done()
        (await waiting).close()

    asyncio.run(main())


def test_it_is_not_waited_for_without_end(configured):
    """A port that somebody else uses stays taken."""

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as held, pytest.raises(ConfigurationError):
            await wait_for_door(configured(port=held.getsockname()[1]), 0.01)

    asyncio.run(main())
