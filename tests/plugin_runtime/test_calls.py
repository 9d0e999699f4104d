"""A plugin's clients for other plugins: what they send, where to, and when again."""

import asyncio
import contextvars
import socket
import threading

import httpx
import pytest

import plugin_runtime
from plugin_runtime import calls
from plugin_runtime.calls import fields_of_call
from plugin_runtime.local_side import CURRENT, LOCAL_SIDE, serve_run
from tests.fakes.waiting import DEADLINE

KEY = "t1:secret"
TRACE = [(b"traceparent", b"00-1-2-01"), (b"tracestate", b"vendor=1")]
USER = {"id": None, "email": None, "role": "admin"}
REQUEST = ([(b"cookie", b"a=b"), *TRACE], {"user": USER, "request_id": "r1", "caller": "shop", "hops": 2})


def added(own=(), current=None, *, anonymous=False):
    fields = fields_of_call(list(own), current, KEY, anonymous=anonymous)
    return {name.decode(): value.decode() for name, value in fields}


# --- what goes along ------------------------------------------------------------------------------------------


def test_user_request_id_hops_and_trace_of_the_current_request_go_along():
    """And nothing else of it: cookies and the like are between the client and this plugin."""
    assert added(current=REQUEST) == {
        "x-xcore-key": KEY,
        "x-xcore-hops": "3",
        "x-xcore-user": '{"id": null, "email": null, "role": "admin"}',
        "x-request-id": "r1",
        "traceparent": "00-1-2-01",
        "tracestate": "vendor=1",
    }


def test_the_user_stays_behind_where_that_is_wanted():
    """The request is the same one all the same."""
    fields = added(current=REQUEST, anonymous=True)
    assert "x-xcore-user" not in fields
    assert fields["x-request-id"] == "r1"


def test_without_a_request_there_is_the_key_alone():
    """And that it is the first call."""
    assert added() == {"x-xcore-key": KEY, "x-xcore-hops": "1"}


def test_a_run_of_a_job_goes_along_as_the_request_id():
    """It is found by it in the logs of the plugins that it called; nobody asks, and no trace has begun."""

    def in_run():
        serve_run("ab12")
        return added(current=CURRENT.get())

    assert contextvars.copy_context().run(in_run) == {
        "x-xcore-key": KEY,
        "x-xcore-hops": "1",
        "x-request-id": "ab12",
    }


def test_what_the_call_says_itself_stays():
    """But for what only this module may say; a state of another trace would be wrong beside the call's own."""
    own = [(b"Traceparent", b"own"), (b"X-Request-ID", b"own"), (b"X-Xcore-User", b"{}"), (b"X-Xcore-Key", b"guess")]
    fields = added(own, REQUEST, anonymous=True)
    assert fields == {"Traceparent": "own", "X-Request-ID": "own", "x-xcore-key": KEY, "x-xcore-hops": "3"}


# --- where to -------------------------------------------------------------------------------------------------


@pytest.fixture
def local_side(monkeypatch, tmp_path):
    """A listening socket, to which this process's calls go."""
    path = tmp_path / "local.sock"
    monkeypatch.setattr(LOCAL_SIDE, "path", str(path))
    monkeypatch.setattr(LOCAL_SIDE, "key", KEY)
    monkeypatch.setattr(calls, "PAUSES", (0.0, 0.0))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(DEADLINE)
        yield listener


BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Gateway:
    """Takes a connection for each of ``answers``, one after the other, reads a head and sends the answer."""

    def __init__(self, listener, *answers):
        self.heads = []
        self._listener = listener
        self._answers = answers
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    def _serve(self):
        for answer in self._answers:
            connection, _ = self._listener.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                self.heads.append(head.decode())
                connection.sendall(answer)


def ask_async(method="GET", path="/books", **options):
    async def main():
        async with plugin_runtime.client("library") as client:
            return await client.request(method, path, **options)

    return asyncio.run(main())


def ask_sync(method="GET", path="/books", **options):
    with plugin_runtime.sync_client("library") as client:
        return client.request(method, path, **options)


both = pytest.mark.parametrize("ask", [ask_async, ask_sync], ids=["async", "sync"])


@both
def test_a_call_goes_to_the_local_side_with_the_key(local_side, ask):
    """The name is part of the target; the key is in nothing that the plugin gets back."""
    with Gateway(local_side, ANSWER) as gateway:
        token = CURRENT.set(REQUEST)
        try:
            answer = ask(path="/books?q=a%20b")
        finally:
            CURRENT.reset(token)
    (head,) = gateway.heads
    assert head.startswith("GET /~library/books?q=a%20b HTTP/1.1\r\nHost: localhost\r\n")
    assert f"x-xcore-key: {KEY}\r\n" in head.lower()
    assert answer.text == "ok"
    assert KEY not in repr(answer.request.headers.raw)


def test_a_name_of_any_letters_is_a_part_of_the_target(local_side):
    """Hosts could not hold it."""
    with Gateway(local_side, ANSWER) as gateway, plugin_runtime.sync_client("Bücher_1/x") as client:
        client.get("/")
    assert gateway.heads[0].startswith("GET /~B%C3%BCcher_1%2Fx/ HTTP/1.1\r\n")


@both
@pytest.mark.parametrize("url", ["http://example.org/", "https://localhost/x", "http://localhost:8080/x"])
def test_nobody_else_is_asked(local_side, ask, url):
    """The user and the key are not for them."""
    with pytest.raises(httpx.UnsupportedProtocol, match="reaches plugins only"):
        ask(path=url)


@both
def test_where_nothing_is_served_or_run_a_client_can_be_made_and_says_why_it_does_not_work(ask):
    """A validator imports the plugin, and so do its author's tests."""
    with pytest.raises(httpx.UnsupportedProtocol, match="cannot call plugin 'library': this process is none in which"):
        ask()


def test_options_are_those_of_httpx(local_side):
    """But the address is ours; proxies of the environment are for others."""
    client = plugin_runtime.sync_client("library", headers={"a": "b"}, timeout=1.5, base_url="http://example.org")
    assert (client.headers["a"], client.timeout, str(client.base_url)) == (
        "b", httpx.Timeout(1.5), "http://localhost/~library/",
    )  # fmt: skip
    client.close()
    with plugin_runtime.sync_client("library") as plain:
        assert (plain.timeout, plain.trust_env) == (httpx.Timeout(calls.TIMEOUT), False)


# --- when again -----------------------------------------------------------------------------------------------


@both
def test_an_idempotent_call_is_sent_again_when_its_gateway_dies(local_side, ask):
    """Twice at most."""
    with Gateway(local_side, b"", b"", ANSWER) as gateway:
        assert ask("PUT", content=b"body").text == "ok"
    assert len(gateway.heads) == 3
    with Gateway(local_side, b"", b"", b"") as gateway, pytest.raises(BROKEN):
        ask()
    assert len(gateway.heads) == 3


@both
def test_what_may_have_been_delivered_and_may_not_be_twice_is_not_sent_again(local_side, ask):
    """Only the plugin's author knows what that would do."""
    with Gateway(local_side, b"") as gateway, pytest.raises(BROKEN):
        ask("POST", content=b"body")
    assert len(gateway.heads) == 1


def test_a_body_that_is_a_stream_is_not_sent_again(local_side):
    """It has been read."""
    with Gateway(local_side, b"") as gateway, pytest.raises(BROKEN):
        ask_sync("PUT", content=iter([b"body"]))
    assert len(gateway.heads) == 1


# httpcore leaves a socket that could not be connected to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@both
def test_what_was_not_sent_is_sent_in_any_case(local_side, tmp_path, monkeypatch, ask):
    """Nobody can have seen it."""
    path, hidden = tmp_path / "local.sock", tmp_path / "hidden"
    path.rename(hidden)
    pauses = []

    def appear(pause):
        pauses.append(pause)
        hidden.rename(path)

    async def appear_async(pause):
        appear(pause)

    monkeypatch.setattr(calls.time, "sleep", appear)
    monkeypatch.setattr(calls.asyncio, "sleep", appear_async)
    with Gateway(local_side, ANSWER):
        assert ask("POST", content=b"body").text == "ok"
    assert pauses == [0.0]


def test_an_answer_that_breaks_off_is_an_error(local_side):
    """Part of it has been read: it cannot be begun anew."""
    with Gateway(local_side, ANSWER[:-1]) as gateway, pytest.raises(BROKEN):
        ask_sync()
    assert len(gateway.heads) == 1


def test_a_client_that_was_never_used_can_be_closed():
    """It has opened nothing."""
    plugin_runtime.sync_client("library").close()
    asyncio.run(plugin_runtime.client("library").aclose())
