"""Which Python a plugin gets: the supervisor's own if it fits, else the newest installed one that does.

Constraints are read by Poetry's own parser, which knows PEP 440 and its carets and tildes, since Poetry judges by the
same rules when it installs.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from poetry.core.constraints.version import Version, VersionConstraint, parse_constraint

from supervisor.environments.environment import Interpreter
from supervisor.environments.runner import SUPERVISOR, Runner
from supervisor.errors import EnvironmentBuildError, SpawnError

OLDEST = (3, 9)
"""Oldest Python that plugin_runtime supports."""
PROBE_TIMEOUT = 15.0
"""Seconds; an interpreter answers in hundredths, but a disk may have to wake up."""

_FILE_NAME = re.compile(r"python3\.(\d+)")
_MARK = "xcore-probe:"
_PROBE = (
    "import json, sys; "
    f"print('{_MARK}' + json.dumps([list(sys.version_info[:4]), sys.implementation.name, sys.abiflags]))"
)


def own() -> Interpreter:
    """The Python this process runs on.

    Named by its base installation: a venv of the supervisor that is made anew elsewhere then changes nothing.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    abi = "t" if "t" in sys.abiflags else ""
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}{abi}"
    return Interpreter(base if base.exists() else Path(sys.executable), version, abi)


class Interpreters:
    """Knows the installed Pythons; each is asked for its version once, and again when its file has changed.

    The answers are kept in a file, so that an unchanged system starts without asking.
    """

    def __init__(
        self, runner: Runner, environment: Mapping[str, str], memory: Path, preferred: Interpreter | None = None
    ) -> None:
        """``environment``: where PATH, HOME and PYENV_ROOT are looked up; ``memory``: the file of answers."""
        self._runner = runner
        self._environment = environment
        self._memory = memory
        self._preferred = preferred or own()
        self._known: dict[str, Interpreter | None] | None = None

    async def choose(self, name: str, *constraints: str | None) -> Interpreter:
        """The Python for ``name`` that all ``constraints`` allow; None constrains nothing.

        Raises:
            EnvironmentBuildError: a constraint that cannot be read, or no installed Python fits; names what was found.
        """
        written = [constraint for constraint in constraints if constraint and constraint.strip()]
        parsed = [_parse(name, constraint) for constraint in written]
        if _fits(self._preferred, parsed):
            return self._preferred
        found = [self._preferred]
        for path in self._candidates():
            interpreter = await self._probe(path)
            if interpreter is not None and _fits(interpreter, parsed):
                return interpreter
            if interpreter is not None and interpreter not in found:
                found.append(interpreter)
        raise EnvironmentBuildError(
            name,
            f"no installed Python fits requires-python = {' and '.join(map(repr, written))}; found "
            + ", ".join(map(str, found)),
            hint="install one that does, on PATH or with pyenv, or change requires-python in pyproject.toml",
        )

    async def installed(self) -> list[Interpreter]:
        """Those there are to choose from: the preferred one, then the newest first."""
        found = [self._preferred]
        for path in self._candidates():
            interpreter = await self._probe(path)
            if interpreter is not None and interpreter not in found:
                found.append(interpreter)
        return found

    def _candidates(self) -> list[Path]:
        """Newest minor version first; its file name says it without starting anything."""
        files: dict[Path, tuple[int, ...]] = {}
        for folder in self._folders():
            for file in _listed(folder):
                match = _FILE_NAME.fullmatch(file.name)
                if match and (minor := int(match[1])) >= OLDEST[1]:
                    # /bin is often a link to /usr/bin, and a venv, which may be gone tomorrow, holds links to its base.
                    real = file.resolve()
                    # A pyenv folder tells the micro version as well, so 3.12.4 comes before 3.12.1.
                    files[real] = (minor, *_numbers(real.parent.parent.name))
        return sorted(files, key=lambda file: files[file], reverse=True)

    def _folders(self) -> Iterator[Path]:
        home = self._environment.get("HOME", "")
        root = self._environment.get("PYENV_ROOT") or (f"{home}/.pyenv" if home else "")
        for entry in self._environment.get("PATH", "").split(":"):
            # Shims are shell scripts that start pyenv, which starts what we find below anyway.
            if entry.startswith("/") and Path(entry) != Path(root, "shims"):
                yield Path(entry)
        if root:
            for version in _listed(Path(root, "versions")):
                yield version / "bin"

    async def _probe(self, path: Path) -> Interpreter | None:
        try:
            status = path.stat()
        except OSError:
            return None
        if self._known is None:
            self._known = _recall(self._memory)
        key = f"{path}:{status.st_ino}:{status.st_mtime_ns}"
        if key not in self._known:
            self._known[key] = await self._ask(path)
            _remember(self._memory, self._known)
        return self._known[key]

    async def _ask(self, path: Path) -> Interpreter | None:
        try:
            completed = await self._runner.run(
                [str(path), "-I", "-c", _PROBE],
                name=SUPERVISOR,
                cwd=Path("/"),
                environment={"PATH": self._environment.get("PATH", "")},
                timeout=PROBE_TIMEOUT,
            )
        except SpawnError:
            return None
        return _answer(path, completed.tail) if completed.succeeded else None


def _parse(name: str, constraint: str) -> VersionConstraint:
    try:
        return parse_constraint(constraint)
    except ValueError as error:
        raise EnvironmentBuildError(
            name, f"requires-python = {constraint!r} is not a version constraint", hint='write it like ">=3.11"'
        ) from error


def _fits(interpreter: Interpreter, constraints: Sequence[VersionConstraint]) -> bool:
    version = Version.parse(interpreter.version)
    return all(constraint.allows(version) for constraint in constraints)


def _answer(path: Path, lines: Sequence[str]) -> Interpreter | None:
    """What a probe printed; None for alphas, PyPy, and whatever else happens to have the name."""
    for line in lines:
        if line.startswith(_MARK):
            (*version, level), implementation, abi = json.loads(line.removeprefix(_MARK))
            if implementation == "cpython" and level == "final" and tuple(version[:2]) >= OLDEST:
                return Interpreter(path, ".".join(map(str, version)), "t" if "t" in abi else "")
    return None


def _recall(memory: Path) -> dict[str, Interpreter | None]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        return {key: value and Interpreter(Path(value[0]), value[1], value[2]) for key, value in known.items()}
    except (OSError, ValueError, AttributeError, LookupError, TypeError):
        # Missing, damaged or of another version of xcore: everything can be asked again.
        return {}


def _remember(memory: Path, known: Mapping[str, Interpreter | None]) -> None:
    answers = {key: value and [str(value.path), value.version, value.abi] for key, value in known.items()}
    draft = memory.with_suffix(".tmp")
    # A full disk costs a few questions at the next start, no more.
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(answers), encoding="utf-8")
        draft.rename(memory)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
