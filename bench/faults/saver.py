"""Saves new code of the plugins while faults come, and knows what was saved last."""

import asyncio
import random

from bench.faults import subject
from tests.integration.project import Project

PAUSE = (1.0, 4.0)
"""Seconds between two saves."""


class Saver:
    """``saved``: by plugin, the number that its code in the folder has."""

    def __init__(self, project: Project, seed: int) -> None:
        self.saved = dict.fromkeys(subject.PLUGINS, 0)
        self._project = project
        self._dice = random.Random(seed)

    async def run(self) -> None:
        """Save on and on, until cancelled."""
        while True:
            await asyncio.sleep(self._dice.uniform(*PAUSE))
            name = self._dice.choice(list(self.saved))
            self.saved[name] += 1
            subject.save(self._project, name, self.saved[name])
