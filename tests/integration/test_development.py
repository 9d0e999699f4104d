"""``xcore up --dev``: what a browser and a program see of a plugin that is not served, until it is mended."""

import re
import signal

import pytest

from tests.integration.project import XCORE, Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

DEV = (XCORE, "up", "--dev")
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
BROKEN = "raise RuntimeError('<script>no luck</script>')\n"


@pytest.fixture
def system(project: Project) -> Project:
    project.add_app("well", "workbench")
    project.add_code("shop", BROKEN)
    project.expect_log("Plugin shop cannot be served")
    return project.up(DEV)


def seen_on(page: str) -> str:
    (seen,) = re.findall(r'data-seen="(\w+)"', page)
    return seen


def save(system: Project, code: str) -> None:
    draft = system.plugins / "shop" / ".main.py.swp"
    draft.write_text(code)
    draft.rename(system.plugins / "shop" / "main.py")


def shows_details(system: Project) -> bool:
    return "error" in system.http.get("/shop/pid").json()["extension"]


def test_the_page_follows_the_author_until_the_plugin_serves(system):
    """The development loop: broken, broken otherwise, mended; the page is told each time, by its own question."""
    page = system.http.get("/shop/pid", headers=BROWSER)
    assert page.status_code == 503
    assert "&lt;script&gt;no luck&lt;/script&gt;" in page.text
    assert "<script>no luck" not in page.text
    assert "main.py:1" in page.text
    watch = {"Accept": "application/json", "X-Xcore-Watch": seen_on(page.text)}
    assert system.http.get("/shop/pid", headers=watch).json()["extension"]["seen"] == watch["X-Xcore-Watch"]

    save(system, "import no_such_package_anywhere\n")

    def is_news() -> bool:
        answer = system.http.get("/shop/pid", headers=watch).json()["extension"]
        return answer["error"] is not None and answer["error"]["type"] == "ModuleNotFoundError"

    system.wait_until(is_news, "the page learns of the other error")
    assert "poetry add no_such_package_anywhere" in system.http.get("/shop/pid", headers=BROWSER).text

    save(system, (system.plugins / "well" / "main.py").read_text())
    system.wait_until(
        lambda: system.http.get("/shop/pid", headers=watch).status_code == 204, "the page learns that it is served"
    )
    assert system.http.get("/shop/pid", headers=BROWSER).status_code == 200
    assert system.plugin("shop")["error"] is None


RAISING = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/pid")
def pid(text: str = "<script>no luck</script>"):
    raise LookupError(text)
"""


def test_an_exception_in_an_endpoint_is_shown_where_it_was_raised(system):
    """FastAPI answers a bare 500 for it, and raises it to the server after that."""
    save(system, RAISING)
    system.wait_until(
        lambda: system.http.get("/shop/pid", headers=BROWSER).status_code == 500, "the code that raises is served"
    )
    page = system.http.get("/shop/pid", headers=BROWSER)
    assert "<h1>LookupError</h1>" in page.text
    assert "&lt;script&gt;no luck&lt;/script&gt;" in page.text
    assert "<script>" not in page.text
    assert "<strong>&gt;    9 |     raise LookupError(text)</strong>" in page.text
    assert page.text.index("In its own code") < page.text.index("fastapi/routing.py")
    answer = system.http.get("/shop/pid")
    assert (answer.status_code, answer.json()["type"]) == (500, "PluginFailed")
    assert answer.json()["extension"]["error"]["location"] == "main.py:9"

    take_over(system)
    system.wait_until(
        lambda: system.http.get("/shop/pid", headers=BROWSER).text == "Internal Server Error",
        "nothing is told any more",
    )


def test_development_mode_is_kept_by_an_upgrade_and_lost_without_the_option(system):
    """Gateways are replaced where they may tell more, or less, than the one that takes over says."""
    assert shows_details(system)
    gateway = system.admin.get("/admin/processes", params={"kind": "gateway"}).json()[0]["pid"]
    assert system.xcore("upgrade").returncode == 0
    assert shows_details(system)
    assert system.admin.get("/admin/processes", params={"kind": "gateway"}).json()[0]["pid"] == gateway

    take_over(system)
    system.wait_until(lambda: not shows_details(system), "nothing is told any more")
    take_over(system, DEV)
    system.wait_until(lambda: shows_details(system), "it is told again")


def take_over(system: Project, program: tuple[object, ...] = (XCORE, "up")) -> None:
    assert system.process is not None
    system.process.send_signal(signal.SIGKILL)
    system.process.wait()
    system.forget_clients()
    system.gateway_file.unlink()
    system.up(program)


def test_development_mode_is_refused_where_others_may_come_in(project):
    """Tracebacks, paths and log lines stay on this machine."""
    project.configure(gateway={"host": "0.0.0.0"})
    refused = project.xcore("up", "--dev")
    assert refused.returncode == 1
    assert "cannot run with --dev on 0.0.0.0" in refused.stderr
