"""Where packages come from: the index of the configuration, else pip's, else Poetry's default source."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor.environments.runner import SUPERVISOR, Completed, Runner
from supervisor.errors import EnvironmentBuildError

PROBE_TIMEOUT = 60.0
"""Seconds; the probe limits its own request, this is for a machine that swaps."""

_PROGRAM = Path(__file__).with_name("index_probe.py")
_ANSWER = "xcore-index:"
"""As in that program, which is not imported: it imports pip and Poetry."""


@dataclass(frozen=True)
class PackageSource:
    """``mirror``: URL of a simple index that stands in for Poetry's default source, None: that source itself."""

    mirror: str | None = None
    certificate: str | None = None
    """File of certificates that pip was told to trust; Poetry is told the same."""

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that make Poetry use it. URLs may hold a password: never logged."""
        variables = {"POETRY_PYPI_MIRROR_URL": self.mirror} if self.mirror else {}
        return variables | ({"REQUESTS_CA_BUNDLE": self.certificate} if self.certificate else {})


class PackageIndex:
    """Decides once per supervisor, at the first build; an unchanged system never asks."""

    def __init__(self, runner: Runner, environment: Mapping[str, str], index_url: str | None = None) -> None:
        """``index_url``: key ``supervisor.index_url``; ``environment``: in which pip finds its configuration."""
        self._runner = runner
        self._environment = environment
        self._index_url = index_url
        self._lock = asyncio.Lock()
        self._source: PackageSource | None = None

    async def source(self, name: str) -> PackageSource:
        """The source for the environment of ``name``.

        Raises:
            EnvironmentBuildError: pip and Poetry of the supervisor's own environment cannot be asked.
        """
        async with self._lock:
            if self._source is None:
                self._source = await self._ask(name)
            return self._source

    async def _ask(self, name: str) -> PackageSource:
        completed = await self._runner.run(
            [sys.executable, "-I", str(_PROGRAM)],
            name=SUPERVISOR,
            cwd=_PROGRAM.parent,
            environment=self._environment,
            timeout=PROBE_TIMEOUT,
        )
        answer = _answer(completed)
        if answer is None:
            raise EnvironmentBuildError(
                name,
                f"pip and Poetry do not say which index they use: {completed}",
                log_tail=list(completed.tail),
                hint="both must be installed in the supervisor's own environment",
            )
        certificate = answer["certificate"]
        if self._index_url:
            return PackageSource(self._index_url, certificate)
        return PackageSource(answer["index_url"] if answer["mirror"] else None, certificate)


def _answer(completed: Completed) -> dict[str, str | None] | None:
    for line in completed.tail if completed.succeeded else ():
        if line.startswith(_ANSWER):
            answer: dict[str, str | None] = json.loads(line.removeprefix(_ANSWER))
            return answer
    return None
