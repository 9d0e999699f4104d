"""Generations: which code, environment and configuration a plugin's workers run, each with a copy of the code.

Workers import from the copy, so a broken save, a late import or a rollback never meets code of another moment. A copy
is made in a temporary folder and appears under its name by a rename, whole or not at all. Nothing is ever written
into a plugin's own folder. Reads and writes files and blocks: call it in a thread.
"""

import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import PROTOCOL_VERSION, Description
from plugin_runtime.wire import from_wire, to_wire
from supervisor.environments.environment import Environment, Interpreter
from supervisor.environments.file_system import set_aside, unwritable
from supervisor.errors import ConflictError
from supervisor.preparation.snapshot import GONE, Snapshot, open_plain

logger = logging.getLogger(__name__)

TRIES = 5
"""How often a copy is tried while files are being saved; editors and Git are done in milliseconds."""

_HASH_LENGTH = 16
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Generation:
    """One generation on disk."""

    plugin: str
    hash: str
    folder: Path
    environment: str
    """Fingerprint of its environment."""

    @property
    def source(self) -> Path:
        """The copy of its code."""
        return self.folder / "source"


@dataclass(frozen=True)
class Served:
    """Which generations of a plugin have served, by hash; "" for none. Kept for the next supervisor."""

    current: str = ""
    before: str = ""
    """Served before ``current``, and can serve again."""
    withdrawn: str = ""
    """The operator has rolled back from it: not to be served again before the folder says something else."""


@dataclass(frozen=True)
class Ingredients:
    """What a generation was made from beside its code. ``manifest``: as JSON."""

    manifest: dict[str, Any]
    environment: Environment


class _ChangedError(Exception):
    """A file is no longer what the snapshot says."""


class Generations:
    """Owns ``<state_dir>/generations``. One caller per plugin at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, plugin: str, snapshot: Snapshot, ingredients: Ingredients) -> Generation:
        """Return the generation of this code and these ingredients, made where it is new.

        It may be that of newer code, if files changed meanwhile.

        Raises:
            ConflictError: the files change faster than they can be copied.
            PluginInvalidError: a file cannot be read.
            DiskFullError: there is no room for the copy.
            OutOfResourcesError: the machine cannot read or write at the moment.
            XcoreError: the copy cannot be written.
        """
        for _ in range(TRIES):
            generation = self._named(plugin, snapshot, ingredients)
            try:
                if not generation.folder.is_dir():
                    self._copy(generation, snapshot, ingredients)
            except _ChangedError:
                snapshot = snapshot.again()
            except OSError as error:
                if generation.folder.is_dir():  # a copy that was given up runs on, and was quicker
                    return generation
                what = f"cannot copy the code of plugin {plugin!r} to {self._folder}"
                raise unwritable(what, error, self._folder, "the generation before goes on serving") from error
            else:
                return generation
        raise ConflictError(
            f"cannot copy the code of plugin {plugin!r}: its files keep changing",
            hint="name what is written all the time in the plugin's .gitignore",
        )

    def find(self, plugin: str, name: str) -> tuple[Generation, Ingredients] | None:
        """The generation of ``plugin`` whose hash is ``name``; None where it, or its environment, is gone."""
        folder = self._folder / plugin / name
        try:
            data = json.loads(_ingredients_file(folder).read_text(encoding="utf-8"))
            found = dict(data["environment"])
            interpreter = Interpreter(**{**found["interpreter"], "path": Path(found["interpreter"]["path"])})
            environment = Environment(**{**found, "folder": Path(found["folder"]), "interpreter": interpreter})
            manifest = dict(data["manifest"])
        except (OSError, ValueError, TypeError, KeyError):  # of another version, or gone
            return None
        if not name or not environment.python.exists():
            return None
        return Generation(plugin, name, folder, environment.fingerprint), Ingredients(manifest, environment)

    def served(self, plugin: str) -> Served:
        """Which generations have served; nothing where that is not known."""
        try:
            return Served(**json.loads(self._served_file(plugin).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Served()

    def keep_served(self, plugin: str, served: Served) -> None:
        """Remember it.

        Raises:
            XcoreError: it cannot be written.
        """
        _write(self._served_file(plugin), asdict(served))

    def description(self, generation: Generation) -> Description | None:
        """What the validator found in ``generation`` before; None: not validated, or by another version of xcore."""
        try:
            data = json.loads(_description_file(generation).read_text(encoding="utf-8"))
            return from_wire(Description, data["description"]) if data["protocol"] == PROTOCOL_VERSION else None
        except (OSError, ValueError, TypeError, KeyError):  # WireError is a ValueError
            return None

    def keep_description(self, generation: Generation, description: Description) -> None:
        """Remember what the validator found.

        Raises:
            XcoreError: it cannot be written.
        """
        data = {"protocol": PROTOCOL_VERSION, "description": to_wire(description)}
        _write(_description_file(generation), data)

    def environments(self) -> dict[str, set[Path]]:
        """The folders of the environments that generations were made with, by plugin."""
        found: dict[str, set[Path]] = {}
        for file in self._folder.glob("*/*/ingredients.json"):
            with suppress(OSError, ValueError, TypeError, KeyError):  # being removed, or of another version
                folder = Path(json.loads(file.read_text(encoding="utf-8"))["environment"]["folder"])
                found.setdefault(file.parent.parent.name, set()).add(folder)
        return found

    def prune(self, plugin: str, keep: set[str]) -> None:
        """Remove the generations of ``plugin`` whose hashes are not in ``keep``, and what a kill left half made."""
        try:
            for folder in list((self._folder / plugin).iterdir()):
                if folder.is_dir() and folder.name not in keep:
                    for doomed in set_aside([folder]):
                        shutil.rmtree(doomed, ignore_errors=True)
        except FileNotFoundError:
            return
        except OSError as error:  # they take space, and nothing else
            logger.warning("Cannot remove old generations of plugin %s: %s", plugin, error)

    def _served_file(self, plugin: str) -> Path:
        return self._folder / plugin / "served.json"

    def _named(self, plugin: str, snapshot: Snapshot, ingredients: Ingredients) -> Generation:
        environment = ingredients.environment.fingerprint
        parts = [snapshot.hash, environment, json.dumps(ingredients.manifest, sort_keys=True, default=str)]
        name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_HASH_LENGTH]
        return Generation(plugin, name, self._folder / plugin / name, environment)

    def _copy(self, generation: Generation, snapshot: Snapshot, ingredients: Ingredients) -> None:
        owner = generation.folder.parent
        owner.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{generation.hash}.", suffix=".tmp", dir=owner))
        try:
            _copy_files(snapshot, draft / "source")
            _ingredients_file(draft).write_text(json.dumps(asdict(ingredients), default=str), encoding="utf-8")
            draft.rename(generation.folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def _write(file: Path, data: Mapping[str, object]) -> None:
    try:
        draft = file.with_suffix(".tmp")
        draft.write_text(json.dumps(data), encoding="utf-8")
        draft.rename(file)
    except OSError as error:
        raise unwritable(f"cannot write {file}", error, file) from error


def _ingredients_file(folder: Path) -> Path:
    return folder / "ingredients.json"


def _description_file(generation: Generation) -> Path:
    return generation.folder / "description.json"


def _copy_files(snapshot: Snapshot, target: Path) -> None:
    target.mkdir()
    for path, digest in snapshot.files.items():
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if _copy_file(snapshot.folder / path, copy) != digest:
            raise _ChangedError(path)


def _copy_file(original: Path, copy: Path) -> str:
    """Return the SHA-256 of what was copied. The time of the last change goes along, compiled code is checked by it."""
    digest = hashlib.sha256()
    try:
        source = open_plain(original)
    except GONE as error:
        raise _ChangedError(original) from error
    with source, copy.open("xb") as target:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            target.write(chunk)
        status = os.fstat(source.fileno())
        os.fchmod(target.fileno(), stat.S_IMODE(status.st_mode) | stat.S_IRUSR)  # a secret stays one in the copy
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    return digest.hexdigest()
