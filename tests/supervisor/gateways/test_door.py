"""The listening socket."""

import asyncio
import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from supervisor.config.source import load
from supervisor.errors import ConfigurationError
from supervisor.gateways.door import ask_for_doors, bind_door, is_as_configured, url_of, wait_for_door
from supervisor.gateways.local_side import bind_local_side
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


# --- asked for at a gateway ---------------------------------------------------------------------------------


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def gateway_that(answers, path):
    """Takes one connection, reads the nonce that ``said`` then holds, and answers with a function of the connection."""
    said = []

    def serve():
        caller, _ = listener.accept()
        with caller:
            caller.settimeout(DEADLINE)
            said.append(caller.recv(64))
            answers(caller)

    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(DEADLINE)
        listener.bind(str(path))
        listener.listen()
        serving = pool.submit(serve)
        yield said
        serving.result()


def test_the_door_comes_from_a_gateway_as_it_is(configured, tmp_path):
    """Same socket: the same port, and clients that wait in its backlog are not lost. No child inherits it by chance."""
    path = tmp_path / "d"
    with bind_door(configured(port=0)) as lent, socket.create_connection(lent.getsockname()[:2]) as client:

        def lend(caller):
            socket.send_fds(caller, [b"door\n"], [lent.fileno()])

        with gateway_that(lend, path) as said, closing(ask_for_doors(path, "nonce", DEADLINE)) as doors:
            door = doors.public
            assert doors.local is None
            assert door.getsockname() == lent.getsockname()
            assert not door.get_inheritable()
            accepted, address = door.accept()
            accepted.close()
            assert address == client.getsockname()
    assert said == [b"nonce\n"]


def test_the_local_side_comes_with_it(configured, tmp_path):
    """One message brings both; neither is inherited by chance."""
    path = tmp_path / "d"
    with bind_door(configured(port=0)) as public, bind_local_side(tmp_path / "l") as local:

        def lend(caller):
            socket.send_fds(caller, [b"door\n"], [public.fileno(), local.fileno()])

        with gateway_that(lend, path), closing(ask_for_doors(path, "nonce", DEADLINE)) as doors:
            assert doors.public.getsockname() == public.getsockname()
            assert doors.local.getsockname() == str(tmp_path / "l")
            assert not doors.local.get_inheritable()


def not_a_socket(caller):
    descriptor = os.open("/dev/null", os.O_RDONLY)
    socket.send_fds(caller, [b"door\n"], [descriptor])
    os.close(descriptor)


def not_listening(caller):
    with socket.socket() as idle:
        socket.send_fds(caller, [b"door\n"], [idle.fileno()])


def two_doors(caller):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        socket.send_fds(caller, [b"door\n"], [one.fileno(), other.fileno()])


def nothing(caller):
    """As to somebody who does not know the nonce."""


def no_descriptor(caller):
    caller.sendall(b"door\n")


@pytest.mark.parametrize("answers", [nothing, no_descriptor, not_a_socket, not_listening, two_doors])
def test_what_is_no_door_is_an_error_and_nothing_is_kept_of_it(answers, tmp_path):
    """Whoever asked tries the next gateway, or binds the address itself."""
    before = descriptors()
    with gateway_that(answers, tmp_path / "d"), pytest.raises(OSError, match="did not hand over a listening socket"):
        ask_for_doors(tmp_path / "d", "nonce", DEADLINE)
    assert descriptors() == before


def test_a_gateway_that_is_gone_or_says_nothing_is_not_waited_for(tmp_path):
    """The first clients of the new supervisor wait already."""
    with pytest.raises(FileNotFoundError):
        ask_for_doors(tmp_path / "none", "nonce", DEADLINE)
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(str(tmp_path / "d"))
        with pytest.raises(ConnectionRefusedError):
            ask_for_doors(tmp_path / "d", "nonce", DEADLINE)
        stuck.listen()
        with pytest.raises(TimeoutError):
            ask_for_doors(tmp_path / "d", "nonce", 0.01)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::", "localhost"])
def test_a_door_is_as_configured_where_it_would_be_bound_the_same(configured, host):
    """Then it is kept; any port will do for port 0, since clients know this one."""
    with bind_door(configured(host=host, port=0)) as door:
        port = door.getsockname()[1]
        assert is_as_configured(door, configured(host=host, port=port))
        assert is_as_configured(door, configured(host=host, port=0))
        assert not is_as_configured(door, configured(host=host, port=port - 1))


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.2", "::1", "::"])
def test_a_door_on_another_address_is_not_as_configured(configured, host):
    """To whom it is open is not for the supervisor before to say."""
    with bind_door(configured(port=0)) as door:
        assert not is_as_configured(door, configured(host=host, port=0))


def test_a_host_that_does_not_resolve_is_no_match(configured, monkeypatch):
    """Binding it says what is wrong."""

    def fail(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    with bind_door(configured(port=0)) as door:
        monkeypatch.setattr(socket, "getaddrinfo", fail)
        assert not is_as_configured(door, configured(host="nowhere", port=0))
