"""What a gateway tells in development mode of a plugin that is not served, to whom, and how."""

import asyncio
import base64
import hashlib
import json
import re
from types import SimpleNamespace

import pytest

from gateway.development import Development, prefers_html
from gateway.errors import PluginFailedError
from gateway.settings import ParkingLimits
from plugin_runtime import wire
from plugin_runtime.gateway_protocol import PluginTrouble, Wake
from plugin_runtime.protocol import Route, UpstreamDied
from tests.fakes.gateway_process import GatewayInLoop, respond

BROWSER = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HERE = "127.0.0.1:8082"
TROUBLE = PluginTrouble(
    plugin="hello",
    phase="import",
    type="ModuleNotFoundError",
    message="cannot start plugin 'hello': no module named 'yaml'",
    hint='add "pyyaml" to dependencies in the plugin\'s pyproject.toml, or run in its folder: poetry add pyyaml',
    location="main.py:2",
    excerpt=["     1 | import json", ">    2 | import yaml"],
    traceback="Traceback (most recent call last):\n  File main.py, line 2",
    log_tail=["about to import"],
)
FAILED = Route("hello", "/hello", state="failed", retry_after=30.0)


def run(tmp_path, scenario, *troubles, is_developed=True, **options):
    development = Development() if is_developed else None
    for trouble in troubles:
        development.update(trouble)

    async def main():
        async with GatewayInLoop(tmp_path, development, **options) as gateway:
            gateway.development = development
            await scenario(gateway)

    asyncio.run(main())


async def answer_of(gateway, route=FAILED, fields=(BROWSER,), host=HERE, method="GET"):
    await gateway.route(route)
    client = await gateway.connect()
    return await client.ask("/hello/x", method, list(fields), host=host)


def test_a_browser_gets_a_page_with_all_that_its_author_needs(tmp_path):
    """State, phase, exception, place, line, what to do, traceback, last lines; status and Retry-After stay."""

    async def scenario(gateway):
        page = await answer_of(gateway)
        assert (page.status, page.fields["retry-after"]) == (503, "30")
        assert page.fields["content-type"] == "text/html; charset=utf-8"
        text = page.body.decode()
        for told in (
            "failed, import",
            "<h1>ModuleNotFoundError</h1>",
            "no module named &#x27;yaml&#x27;",
            "main.py:2",
            "<strong>&gt;    2 | import yaml</strong>",
            "poetry add pyyaml",
            "File main.py, line 2",
            "about to import",
        ):
            assert told in text
        head = await answer_of(gateway, method="HEAD")
        assert (head.status, head.fields["content-type"]) == (503, "text/html; charset=utf-8")

    run(tmp_path, scenario, TROUBLE)


SCRIPT = "<script>alert(1)</script>"
ATTRIBUTE = '"><img src=x onerror=alert(1)>'


@pytest.mark.parametrize("evil", [SCRIPT, ATTRIBUTE, "</pre></style></title>" + SCRIPT], ids=["tag", "quote", "close"])
def test_whatever_a_plugin_says_is_text(tmp_path, evil):
    """Row 20: all of it is foreign, the names of its exceptions and files as well."""
    texts = dict.fromkeys(("phase", "type", "message", "hint", "location", "traceback"), evil)
    lists = {key: [evil, f"> {evil}"] for key in ("excerpt", "problems", "log_tail", "progress")}

    async def scenario(gateway):
        text = (await answer_of(gateway)).body.decode()
        assert evil not in text
        assert (text.count("<script>"), text.count("<img")) == (1, 0)

    run(tmp_path, scenario, PluginTrouble("hello", **texts, **lists))


def test_the_page_runs_its_own_script_and_nothing_else(tmp_path):
    """The policy names the script and the style by what they are; nothing comes from elsewhere, nobody frames it."""

    async def scenario(gateway):
        page = await answer_of(gateway)
        policy = page.fields["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        text = page.body.decode()
        for tag, directive in (("script", "script-src"), ("style", "style-src")):
            (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"{directive} 'sha256-{digest}'" in policy
        assert not re.search(r"\b(src|href)=|url\(|@import", text)
        assert page.fields["cache-control"] == "no-store"

    run(tmp_path, scenario, TROUBLE)


@pytest.mark.parametrize("fields", [(), ("accept: */*",), ("accept: application/json",)], ids=["none", "any", "json"])
def test_programs_get_the_error_model_with_the_details_in_its_extension(tmp_path, fields):
    """The body that they know, and more in it."""

    async def scenario(gateway):
        answer = await answer_of(gateway, fields=fields)
        body = answer.json()
        assert (answer.status, answer.fields["retry-after"]) == (503, "30")
        assert (body["type"], body["extension"]["state"]) == ("PluginUnavailable", "failed")
        assert body["extension"]["error"]["hint"] == TROUBLE.hint
        assert body["extension"]["error"]["excerpt"] == TROUBLE.excerpt

    run(tmp_path, scenario, TROUBLE)


@pytest.mark.parametrize(
    "host", ["shop.example", "192.168.1.5:8082", "localhost.evil.example", "[fe80::1]", "127.0.0.1.nip.io"]
)
def test_a_request_that_names_another_machine_is_told_nothing(tmp_path, host):
    """A name that somebody has resolved to this machine would give a foreign page the tracebacks to read."""

    async def scenario(gateway):
        answer = await answer_of(gateway, host=host)
        assert answer.fields["content-type"] == "application/json"
        assert set(answer.json()["extension"]) == {"plugin", "state", "reason"}
        watched = await answer_of(gateway, fields=("x-xcore-watch: 1",), host=host)
        assert set(watched.json()["extension"]) == {"plugin", "state", "reason"}

    run(tmp_path, scenario, TROUBLE)


@pytest.mark.parametrize("host", ["localhost", "shop.localhost:8082", "127.0.0.2:1", "[::1]:8082", "LOCALHOST"])
def test_names_of_this_machine_are_known(tmp_path, host):
    """All of the loopback network, with a port or without."""

    async def scenario(gateway):
        assert "text/html" in (await answer_of(gateway, host=host)).fields["content-type"]

    run(tmp_path, scenario, TROUBLE)


def test_without_development_mode_nothing_more_is_told(tmp_path):
    """Neither the page nor the details; and the page's question is one to the plugin like any other."""

    async def scenario(gateway):
        answer = await answer_of(gateway)
        assert answer.fields["content-type"] == "application/json"
        assert set(answer.json()["extension"]) == {"plugin", "state", "reason"}
        await gateway.serve(hello)
        watched = await (await gateway.connect()).ask("/hello", fields=["x-xcore-watch: 1"], host=HERE)
        assert (watched.status, watched.body) == (200, b"hello")

    run(tmp_path, scenario, is_developed=False)


async def hello(scope, receive, send):
    await respond(send, b"hello")


async def failing(scope, receive, send):
    raise RuntimeError("the plugin's own business")


def explain(error):
    text = str(error)
    return PluginTrouble(
        "hello",
        type=type(error).__name__,
        message=text,
        location="main.py:7",
        excerpt=[f">    7 | {text}"],
        frames=["File main.py, line 7\n    {text}"],
        traceback="Traceback (most recent call last):\n  File routing.py, line 300",
    )


async def ask_failing(gateway, app=failing, explained=explain, **request):
    await gateway.serve(app, explain=explained)
    return await (await gateway.connect()).ask(**{"path": "/hello", "fields": [BROWSER], "host": HERE} | request)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_browser_gets_a_page_of_what_an_application_raised(tmp_path, method):
    """Where, the frames of its own code, then the whole; browsers send forms, too. It never asks again itself."""

    async def scenario(gateway):
        page = await ask_failing(gateway, method=method)
        assert (page.status, page.fields["content-type"]) == (500, "text/html; charset=utf-8")
        text = page.body.decode()
        told = ["<h1>RuntimeError</h1>", "the plugin&#x27;s own business", "main.py:7", "In its own code", "routing.py"]
        assert [text.find(part) for part in told] == sorted(text.find(part) for part in told)
        assert text.find(told[0]) > 0
        assert "<script>" not in text
        assert gateway.tallies.of("hello").refused["failed"] == 1

    run(tmp_path, scenario, TROUBLE)


def test_a_program_gets_what_an_application_raised_in_the_error_model(tmp_path):
    """Type and message as ever, the rest in the extension."""

    async def scenario(gateway):
        answer = await ask_failing(gateway, fields=["accept: */*"])
        body = answer.json()
        assert (answer.status, body["type"]) == (500, "PluginFailed")
        assert body["message"] == "plugin 'hello' failed: RuntimeError: the plugin's own business"
        error = body["extension"]["error"]
        assert (error["type"], error["location"]) == ("RuntimeError", "main.py:7")
        assert (len(error["frames"]), error["traceback"].splitlines()[-1]) == (1, "  File routing.py, line 300")

    run(tmp_path, scenario)


@pytest.mark.parametrize("evil", [SCRIPT, ATTRIBUTE, "</pre></style></title>" + SCRIPT], ids=["tag", "quote", "close"])
def test_whatever_an_application_raised_is_text(tmp_path, evil):
    """It may quote what the request said: a link to a page of ours must run nothing."""

    def explained(error):
        texts = dict.fromkeys(("type", "message", "hint", "location", "traceback"), evil)
        return PluginTrouble(evil, **texts, excerpt=[evil, f"> {evil}"], frames=[evil])

    async def scenario(gateway):
        text = (await ask_failing(gateway, explained=explained)).body.decode()
        assert evil not in text
        assert (text.count("<script>"), text.count("<img")) == (0, 0)

    run(tmp_path, scenario)


@pytest.mark.parametrize(("host", "is_developed"), [("shop.example", True), (HERE, False)], ids=["elsewhere", "normal"])
def test_what_an_application_raised_stays_in_its_process_where_it_may_not_be_told(tmp_path, host, is_developed):
    """No worker is asked for it, so that none can leak it."""
    asked = []

    async def scenario(gateway):
        answer = await ask_failing(gateway, explained=asked.append, host=host)
        assert (answer.status, answer.body) == (500, b"Internal Server Error")
        assert asked == []

    run(tmp_path, scenario, is_developed=is_developed)


def test_no_application_sees_that_its_developer_is_told(tmp_path):
    """What it finds in its scope is the same everywhere."""
    seen = []

    async def app(scope, receive, send):
        seen.append(set(scope["state"]["xcore"]))
        await respond(send)

    async def scenario(gateway):
        await ask_failing(gateway, app)
        await ask_failing(gateway, app, host="shop.example")
        assert seen == [{"user", "request_id"}] * 2

    run(tmp_path, scenario)


@pytest.mark.parametrize("details", [b"", b"nonsense", wire.encode(PluginTrouble("a")) * 2, wire.encode(Wake("a"))])
def test_a_worker_that_tells_nonsense_of_a_failure_has_failed_all_the_same(details):
    """Foreign code runs in it."""
    error = PluginFailedError("hello", "it raised", details)
    pool = SimpleNamespace(route=FAILED)
    status, _, body = Development().render(error, "GET", [(b"host", HERE.encode())], pool)
    assert status == 500
    assert json.loads(body)["extension"]["error"]["message"] == "plugin 'hello' failed: it raised"


def test_other_methods_get_no_page(tmp_path):
    """A form that was sent is no page to come back to."""

    async def scenario(gateway):
        assert "json" in (await answer_of(gateway, method="POST")).fields["content-type"]

    run(tmp_path, scenario, TROUBLE)


def test_the_page_s_question_is_answered_by_the_gateway_at_once(tmp_path):
    """503 while it is not served, with another ``seen`` when something else is wrong; 204 once it is."""

    async def scenario(gateway):
        page = (await answer_of(gateway)).body.decode()
        (seen,) = re.findall(r'data-seen="(\w+)"', page)
        assert "X-Xcore-Watch" in page
        fields = ["accept: application/json", f"x-xcore-watch: {seen}"]
        client = await gateway.connect()
        before = await client.ask("/hello/x", fields=fields, host=HERE)
        assert (before.status, before.json()["type"], before.json()["extension"]["seen"]) == (
            503,
            "PluginUnavailable",
            seen,
        )
        gateway.development.update(PluginTrouble("hello", type="SyntaxError"))
        other = await client.ask("/hello/x", fields=fields, host=HERE)
        assert other.json()["extension"]["seen"] != seen
        # One that is expected parks requests, but not this one.
        await gateway.route(Route("hello", "/hello", state="starting", expected=True))
        starting = await client.ask("/hello/x", fields=fields, host=HERE)
        assert (starting.status, starting.json()["extension"]["state"]) == (503, "starting")
        await gateway.serve(failing)
        served = await client.ask("/hello/x", fields=fields, host=HERE)
        assert (served.status, served.body) == (204, b"")
        assert gateway.tallies.of("hello").requests == 1  # the page itself

    run(tmp_path, scenario, TROUBLE)


def test_one_that_is_idle_counts_as_served(tmp_path):
    """The page would wait for ever: only a request wakes it."""

    async def scenario(gateway):
        route = Route("hello", "/hello", state="idle", expected=True)
        assert (await answer_of(gateway, route, fields=["x-xcore-watch: 1"])).status == 204

    run(tmp_path, scenario)


def test_a_request_that_waited_in_vain_gets_the_page_with_the_installer_s_words(tmp_path):
    """Parked as ever; then it is seen how far the environment is."""

    async def scenario(gateway):
        route = Route("hello", "/hello", state="installing", expected=True)
        page = await answer_of(gateway, route)
        assert page.status == 503
        assert "Installing numpy" in page.body.decode()
        assert "it is being installed" in page.body.decode()

    trouble = PluginTrouble("hello", progress=["Installing numpy (2.0)"])
    run(tmp_path, scenario, trouble, parking=ParkingLimits(seconds=0.05))


def test_a_death_under_a_request_is_told_without_asking_again(tmp_path):
    """The request may be the cause: a page that sends it again and again would kill one worker after the other."""

    async def scenario(gateway):
        waits = asyncio.Event()

        async def app(scope, receive, send):
            waits.set()
            await asyncio.Event().wait()

        server = await gateway.serve(app)
        client = await gateway.connect()
        client.write("/hello", "GET", [BROWSER], host=HERE)
        await waits.wait()
        gateway.upstreams.died(UpstreamDied("hello.1", "hello.1:1", "hang", resend=False))
        await gateway.kill(server)
        page = await client.read_response()
        assert (page.status, page.fields["content-type"]) == (502, "text/html; charset=utf-8")
        assert "<script>" not in page.body.decode()

    run(tmp_path, scenario)


def test_a_request_that_took_too_long_is_told_what_to_do_about_that(tmp_path):
    """It is code that serves which is slow: what keeps newer code from serving has nothing to do with it."""

    async def scenario(gateway):
        async def app(scope, receive, send):
            await asyncio.Event().wait()

        await gateway.serve(app, request_timeout=0.05)
        client = await gateway.connect()
        page = await client.ask("/hello", "GET", [BROWSER], host=HERE)
        assert (page.status, page.fields["content-type"]) == (504, "text/html; charset=utf-8")
        text = page.body.decode()
        assert "did not answer within 0.05 s" in text
        assert "request_timeout in its manifest" in text
        assert "yaml" not in text
        assert "<script>" not in text

    run(tmp_path, scenario, TROUBLE)


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/xhtml+xml", True),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("application/json;q=0.5, text/html", True),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
        ("TEXT/HTML ; Q=0.4", True),
    ],
)
def test_a_page_is_for_who_asks_for_html_by_name(accept, is_page):
    """curl, fetch and libraries say that they take anything; they mean JSON."""
    assert prefers_html(accept) is is_page
