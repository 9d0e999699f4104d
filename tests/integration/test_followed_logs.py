"""``xcore plugin logs --follow`` while everything that has to do with the log is replaced."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.project import END_DEADLINE, XCORE, Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]


@pytest.fixture
def system(project: Project) -> Project:
    project.add_app("bench", "workbench")
    return project.up()


class Reader:
    """Somebody who follows the log of ``bench``."""

    def __init__(self, system: Project, output: Path) -> None:
        self._system = system
        self._output = output
        with output.open("wb") as stdout, (output.with_suffix(".err")).open("wb") as stderr:
            self.process = subprocess.Popen(
                [XCORE, "plugin", "logs", "bench", "--follow"],
                cwd=system.folder,
                env=system.environment,
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def seen(self) -> str:
        return self._output.read_text()

    @property
    def complaints(self) -> str:
        return self._output.with_suffix(".err").read_text()

    def hears(self, word: str) -> None:
        """Have the plugin print it, and wait for it."""
        self._system.http.get("/bench/write", params={"hex": f"{word}\n".encode().hex()}).raise_for_status()
        self._system.wait_until(lambda: f"out {word}\n" in self.seen, f"{word} is followed")


@pytest.fixture
def reader(system: Project, tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(system, tmp_path / "followed")
    yield reader
    reader.process.kill()
    reader.process.wait()


def test_following_goes_on_over_restarts_reloads_upgrades_and_the_supervisors_death(system, reader):
    """And over a log that is moved away: every line of its files, and each once."""
    log = system.state / "logs" / "bench.log"
    reader.hears("first")
    assert system.xcore("plugin", "restart", "bench").returncode == 0
    reader.hears("restarted")
    code = system.plugins / "bench" / "main.py"
    code.write_text(f"{code.read_text()}\n# changed\n")
    assert system.xcore("plugin", "reload", "bench").returncode == 0
    reader.hears("reloaded")
    log.rename(log.with_name("bench.log.1"))
    reader.hears("moved")
    assert system.xcore("upgrade").returncode == 0
    reader.hears("upgraded")
    system.process.kill()
    system.process.wait()
    system.up()
    reader.hears("taken over")
    reader.process.send_signal(signal.SIGINT)
    assert (reader.process.wait(END_DEADLINE), reader.complaints) == (0, "")
    assert reader.seen == system.plugin_log("bench")
