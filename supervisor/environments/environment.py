"""An installed Python and an environment made from it. Pure: paths and versions."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Interpreter:
    """One installed CPython. ``version``: "3.11.7"; ``abi``: "t" for the free-threaded build."""

    path: Path
    version: str
    abi: str = ""

    @property
    def minor(self) -> str:
        """As in paths: "3.11", "3.13t"."""
        major, minor, *_ = self.version.split(".")
        return f"{major}.{minor}{self.abi}"

    @property
    def tag(self) -> str:
        """As in file names of wheels: "cp311"."""
        return f"cp{self.minor.replace('.', '')}"

    def __str__(self) -> str:
        return f"{self.version} at {self.path}"


@dataclass(frozen=True)
class Environment:
    """A whole environment on disk; nobody writes to it any more."""

    folder: Path
    fingerprint: str
    """Name of the folder: one that was built anew is another environment."""
    interpreter: Interpreter
    optional_groups: bool = False
    """Whether the groups beside main are there too."""

    @property
    def owner(self) -> str:
        """The plugin, or the name that base environments have instead."""
        return self.folder.parent.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return self.folder / "lib" / f"python{self.interpreter.minor}" / "site-packages"
