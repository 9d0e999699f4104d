"""The end of ``xcore up``: in order, hurried, and against resistance."""

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.project import DEADLINE, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]


def is_refused(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_request_in_flight_ends_while_new_connections_are_refused(project, number):
    """Row 26: what was begun is finished, nothing is begun any more, the exit code is 0."""
    project.add_app("bench", "workbench")
    project.up()
    url = project.url
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.get, f"{url}/bench/held", timeout=DEADLINE)
        project.wait_until(
            lambda: project.plugin("bench")["instances"][0]["in_flight"] == 1, "the request is under way"
        )
        project.process.send_signal(number)
        project.wait_until(lambda: is_refused(url), "new connections are refused", within=2)
        assert not answer.done()
        (project.data("bench") / "go-on").touch()
        assert answer.result().json() == "released"
    project.join()
    assert not project.gateway_file.exists()


def test_a_second_signal_hurries(project):
    """Who asks twice does not want to wait for a request that never ends."""
    project.add_app("bench", "workbench")
    project.up()
    url, marker = project.url, project.data("bench") / "record"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{url}/bench/record", timeout=DEADLINE)
        project.wait_until(marker.exists, "the request is under way")
        project.process.send_signal(signal.SIGTERM)
        project.wait_until(lambda: is_refused(url), "new connections are refused", within=2)
        asked_again = time.monotonic()
        project.process.send_signal(signal.SIGTERM)
        project.join()
        assert time.monotonic() - asked_again < 8
        with pytest.raises(httpx.HTTPError):
            answer.result().raise_for_status()


def test_a_stop_during_the_start_leaves_nothing(project):
    """Between the first process and the first plugin that serves, an order to stop is obeyed as well."""
    project.add_app("never", "never_ready", stop_timeout=1)
    project.start()
    grandchildren = project.data("never") / "grandchildren"
    project.wait_until(lambda: grandchildren.exists() and grandchildren.read_text().endswith("\n"), "it is starting")
    project.stop()
    assert not is_alive(int(grandchildren.read_text()))


def test_down_stops_everything_and_waits_for_it(project):
    """The command returns when nothing is left, and says so."""
    project.add_app("bench", "workbench")
    project.up()
    down = project.xcore("down")
    assert down.returncode == 0, down.stderr
    assert f"pid {project.process.pid}" in down.stdout
    project.join()
    assert project.xcore("down").returncode == 3


def test_a_plugin_that_ignores_sigterm_is_killed_at_its_stop_timeout(project):
    """The ladder ends with SIGKILL after ``stop_timeout``, half a second more or less."""
    project.add_app("deaf", "deaf", stop_timeout=2, exclusive=True)
    project.up()
    pid = project.pid("deaf")
    asked = time.time()

    answer = project.admin.post("/admin/plugins/deaf/restart", params={"wait": 30})

    assert answer.status_code == 202
    assert not is_alive(pid)
    record = project.exit_of("deaf", pid)
    assert (record["cause"], record["actor"], record["signal"]) == ("operator", "token:admin", 9)
    assert 1.5 < record["time"] - asked < 2.5
