"""Removes what nobody needs any more: environments, of plugins, tasks and what their processes need themselves, and the
copies of the code of plugins that are gone.

What is needed is looked up anew each time, where it cannot go stale: in the generations on disk, in the processes of
this machine, in what is to be started. So nothing has to be counted, and a kill at any moment forgets nothing.
"""

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from supervisor.environments.build_lock import alone_nowait
from supervisor.environments.builder import MARK, Builder
from supervisor.environments.file_system import erase, set_aside
from supervisor.environments.installer import BASE
from supervisor.preparation.generations import Generations
from supervisor.processes.survivors import Survivors
from supervisor.state_folder import StateFolder
from supervisor.supervision.tree import Tree
from supervisor.works import Works

FORESIGHT = 24 * 3600.0
"""Seconds for which the newest environment is kept that is no plugin's: a check has built it for one yet to come."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """What there is: environments by owner, with the times of their completion; and what is needed of them."""

    environments: dict[Path, dict[Path, float]]
    named: dict[str, set[Path]]
    """By generations, by plugin."""
    running: set[Path]
    """Of living processes."""
    copied: list[Path]
    """Folders of plugins of whose code there are copies, and what a kill has left of such a folder."""


class Pruning:
    """Owns when it is done, and does it by itself."""

    def __init__(
        self,
        folder: StateFolder,
        builder: Builder,
        generations: Generations,
        tree: Tree,
        survivors: Survivors,
    ) -> None:
        self.is_known: Callable[[str], bool] = lambda _plugin: True
        """Whether there is a plugin of this name, served or not."""
        self.foundations: Callable[[], Iterable[str]] = tuple
        """What tasks are started with, whenever that is: words, variables, paths."""
        self._folder = folder
        self._builder = builder
        self._generations = generations
        self._tree = tree
        self._survivors = survivors
        self._works = Works()
        self._is_wanted = False
        self._is_closed = False

    def soon(self) -> None:
        """Begin to prune; if that is under way, once more after it. Nothing after the close."""
        if self._is_closed:
            return
        self._is_wanted = True
        if not self._works:
            self._works.begin(self._prune_while_wanted(), "pruning")

    async def close(self) -> None:
        """Begin nothing more; what is half removed goes the next time."""
        self._is_closed = True
        await self._works.close()

    def generations(self, plugin: str) -> set[str]:
        """Hashes of those generations of a plugin that tasks, or what is to be started again, stand on."""
        folder = self._folder.generations / plugin
        return {path.name for path in _paths_below(folder, 1, _joined(self._started_with()))}

    async def _prune_while_wanted(self) -> None:
        while self._is_wanted:
            self._is_wanted = False
            await self.prune()

    async def prune(self) -> None:
        """Remove what nobody needs; return when it is gone."""
        seen = await asyncio.to_thread(self._look)
        # Nobody else has a turn before all is aside: what was given to somebody meanwhile is seen to be in use.
        aside = _set_aside(self._abandoned(seen))
        for owner, environments in self._unneeded(seen).items():
            aside += _set_aside_alone(owner, environments)
        await erase(aside)

    def _look(self) -> Seen:
        owners = [owner for folder in self._roots() for owner in _folders(folder) if not owner.name.startswith(".")]
        environments = {owner: {path: _completion(path) for path in _folders(owner)} for owner in owners}
        processes = (_read(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - a Path each is dear
        copied = [] if self._folder.generations.is_symlink() else _folders(self._folder.generations)
        running = self._in(b"\0".join(processes))
        return Seen(environments, self._generations.environments(), running, copied)

    def _started_with(self) -> Iterator[str]:
        """Words and variables of what runs or is to be started again."""
        for child in self._tree.children:
            yield from child.spec.command
            yield from child.spec.environment.values()
        yield from self.foundations()

    def _roots(self) -> list[Path]:
        """A link leads to a folder that is somebody else's as well, whose needs are not known here."""
        return [root for root in (self._folder.environments, self._folder.runtime) if not root.is_symlink()]

    def _in(self, words: bytes) -> set[Path]:
        """The environments that are named in what processes were started with."""
        roots = (self._folder.environments, self._folder.runtime)
        return {path for root in roots for path in _paths_below(root, 2, words)}

    def _unneeded(self, seen: Seen) -> dict[Path, dict[Path, float]]:
        """By owner, as in ``seen``."""
        needed = seen.running | self._in(_joined(self._started_with()))
        in_use = self._builder.in_use()
        known = {owner: self._owns_something(owner) for owner in seen.environments}
        needed |= {path for plugin, paths in seen.named.items() if self.is_known(plugin) for path in paths}
        needed |= {path for path in in_use if known.get(path.parent, True)}
        for owner, environments in seen.environments.items():
            newest = max(environments, key=environments.__getitem__, default=None)
            if newest is not None and environments[newest] > (0 if known[owner] else time.time() - FORESIGHT):
                needed.add(newest)
        return {
            owner: {path: completion for path, completion in environments.items() if path not in needed}
            for owner, environments in seen.environments.items()
        }

    def _abandoned(self, seen: Seen) -> list[Path]:
        """The generations of plugins that are gone, all of them: a process that ends may import something yet."""
        if self._survivors:  # it is not known yet who of them stands on what
            return []
        busy = {child.spec.name for child in self._tree.children}
        return [
            owner
            for owner in seen.copied
            if owner != self._folder.task_copies
            and not (self.is_known(owner.name) or owner.name in busy or self.generations(owner.name))
        ]

    def _owns_something(self, owner: Path) -> bool:
        return owner.parent == self._folder.runtime or owner.name == BASE or self.is_known(owner.name)


def _set_aside(doomed: Collection[Path]) -> list[Path]:
    if doomed:
        logger.info("Removing what nobody needs any more: %s", ", ".join(map(str, sorted(doomed))))
    aside = []
    for folder in doomed:
        try:
            aside += set_aside([folder])
        except OSError as error:
            _log_failure(folder, error)
    return aside


def _set_aside_alone(owner: Path, environments: Mapping[Path, float]) -> list[Path]:
    """Those of one owner, unless somebody builds there: what a check has begun, or has completed since, is in use."""
    if not environments:
        return []
    try:
        with alone_nowait(owner) as is_alone:
            unchanged = [path for path, completion in environments.items() if _completion(path) == completion]
            return _set_aside(unchanged) if is_alone else []
    except OSError as error:  # of the lock: a check by another user has made it
        _log_failure(owner, error)
        return []


def _log_failure(folder: Path, error: OSError) -> None:
    """It takes space, and nothing else: all others have their turn."""
    what = f"{error.filename or folder}: {error.strerror or error}"
    logger.warning("Cannot remove what nobody needs in %s: %s; let the user that runs xcore own it", folder, what)


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []


def _completion(environment: Path) -> float:
    """When it was complete; 0 where it is not, and that is never the newest."""
    if environment.name.startswith("."):  # half removed
        return 0.0
    try:
        return (environment / MARK).stat().st_mtime
    except OSError:
        return 0.0


def _read(pid: str) -> bytes:
    """Command line and variables that a process was started with; of one that was forked, those of its template.

    Of other users' processes there is nothing to read: none of them is ours.
    """
    parts = []
    for file in ("cmdline", "environ"):
        with suppress(OSError):
            parts.append(Path(f"/proc/{pid}/{file}").read_bytes())
    return b"\0".join(parts)


def _joined(words: Iterable[str]) -> bytes:
    return b"\0".join(map(os.fsencode, words))


def _paths_below(root: Path, depth: int, words: bytes) -> set[Path]:
    """Whatever in ``words`` lies ``depth`` levels below ``root``, or deeper: its path down to that level."""
    pattern = re.escape(os.fsencode(root)) + rb"(/[^/\0:]+)" * depth
    return {Path(os.fsdecode(match[0])) for match in re.finditer(pattern, words)}
