"""Changes of config.json that we make ourselves: one key at a time, checked before, and never half written."""

import errno
import json
import os
import stat
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor.config.configuration import Configuration
from supervisor.config.json_text import MAX_DEPTH
from supervisor.config.problems import dotted, shown_value, unknown_key
from supervisor.config.regular_file import MAX_BYTES
from supervisor.config.settings import Settings
from supervisor.config.source import absolute, build, parse, read
from supervisor.errors import ConfigurationError, ConflictError, XcoreError

_FULL = {errno.ENOSPC, errno.EDQUOT}


class UnwritableFileError(XcoreError):
    """config.json could not be replaced and is as it was."""

    def __init__(self, path: Path, cause: OSError) -> None:
        # The path as the user named it: the cause may speak of a draft or of what a link points to.
        super().__init__(f"cannot write {path}: {cause.strerror or cause}", hint="it is as it was")
        self.path = path
        self.status = 507 if cause.errno in _FULL else 503


class ConfigurationEditor:
    """Reads, changes and replaces one config.json; thread-safe. ``environ``: what overrides it, as in ``source.load``.

    The file belongs to its user, who may write it at any moment with any editor and takes no lock of ours. Hence what
    they wrote since we read it is looked for right before the rename. Between these two system calls a change of
    theirs could still be lost; no call of the kernel's compares and renames in one.
    """

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = absolute(path)
        self._environ = environ
        self._lock = threading.Lock()

    def set(self, key: Sequence[str], value: Any) -> Configuration:
        """Write ``value``, which JSON can hold, to ``key``; return the configuration that the file makes now.

        The order of keys and whatever else the file says is kept. Blocks until the disk has it.

        Raises:
            ConfigurationError: the file is not valid, or would not be afterwards.
            ConflictError: a variable overrides the key, or somebody else changed the file in this moment.
            UnwritableFileError: the file cannot be replaced.
        """
        with self._lock:
            self._require_known(key)
            before = read(self._path)
            tree = self._changed(parse(self._path, before), key, value)
            after = self._text(tree, key)
            configuration = build(self._path, parse(self._path, after), self._environ)
            if source := configuration.override_source(dotted(key)):
                raise ConflictError(f"cannot change {dotted(key)}: {source} overrides it", hint="change it there")
            if after != before:
                self._replace(before, self._encoded(after, key))
            return configuration

    def _require_known(self, key: Sequence[str]) -> None:
        if not key:
            raise ConfigurationError(str(self._path), "", "no key is named")
        if problem := unknown_key(Settings, key):
            raise ConfigurationError(str(self._path), problem.key, problem.text, hint=problem.hint)

    def _changed(self, tree: dict[str, Any], key: Sequence[str], value: Any) -> dict[str, Any]:
        section = tree
        for depth, part in enumerate(key[:-1], start=1):
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                problem = f"must be an object, not {shown_value(section)}"
                raise ConfigurationError(str(self._path), dotted(key[:depth]), problem)
        section[key[-1]] = value
        return tree

    def _text(self, tree: dict[str, Any], key: Sequence[str]) -> str:
        try:
            return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"
        except RecursionError as error:
            raise self._refusal(key, f"nested more than {MAX_DEPTH} levels deep") from error
        except (TypeError, ValueError) as error:  # a type that JSON does not have, a number of thousands of digits
            raise self._refusal(key, f"must be a JSON value: {error}") from error

    def _encoded(self, text: str, key: Sequence[str]) -> bytes:
        try:
            data = text.encode()
        except UnicodeEncodeError as error:  # in "$schema", which is nobody's to check; our keys are checked
            raise self._refusal((), "holds half of a surrogate pair") from error
        if len(data) > MAX_BYTES:
            raise self._refusal(key, f"makes the file larger than {MAX_BYTES} bytes")
        return data

    def _refusal(self, key: Sequence[str], problem: str) -> ConfigurationError:
        return ConfigurationError(str(self._path), dotted(key), problem)

    # --- the file ---

    def _replace(self, before: str, data: bytes) -> None:
        """Put ``data`` in the place of the file, or of what it links to, if it still says ``before``."""
        try:
            target = self._path.resolve(strict=True)
            # A rename needs no permission on the file itself; who took it away meant it, and does so of a disk, too.
            if not os.access(target, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            draft = _write_draft(target, data)
            try:
                self._require_unchanged(target, before)
                draft.rename(target)
            except BaseException:
                _remove(draft)
                raise
        except OSError as error:
            raise UnwritableFileError(self._path, error) from error
        _sync_folder(target.parent)

    def _require_unchanged(self, target: Path, before: str) -> None:
        """Compared are contents: a file may be written twice within the resolution of its times."""
        with suppress(ConfigurationError, OSError):  # gone, or in the middle of being written
            if self._path.resolve(strict=True) == target and read(self._path) == before:
                return
        raise ConflictError(f"cannot change {self._path}: somebody else is changing it", hint="try again")


def _write_draft(target: Path, data: bytes) -> Path:
    """``data`` beside ``target``, on the disk, with its mode and owner.

    Under a name that nobody else has: another supervisor, with another state folder, may share the file.
    """
    status = target.stat()
    fd, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".draft", dir=target.parent)
    draft = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            made = os.fstat(fd)
            if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
                os.fchown(fd, status.st_uid, status.st_gid)
            os.fchmod(fd, stat.S_IMODE(status.st_mode))
            file.flush()
            os.fsync(fd)
    except BaseException:
        _remove(draft)
        raise
    return draft


def _remove(draft: Path) -> None:
    with suppress(OSError):  # what went wrong before is what is told
        draft.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the rename outlast a power cut. It has happened already, so a failure is none of the change's."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
