"""What an installer's last lines mean: whether another try may help, and what to tell the operator. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnosis:
    """``transient``: the network's doing, or a damaged download; worth another try.

    ``is_full``: a file system is; which one the installer does not say.
    """

    transient: bool = False
    is_full: bool = False
    problem: str = ""
    hint: str = ""


_NETWORK = (
    r"Max retries exceeded|ConnectionError|ConnectTimeout|ReadTimeout|timed out|All attempts to connect"
    r"|Connection (refused|reset|aborted)|RemoteDisconnected|IncompleteRead|ChunkedEncodingError"
    r"|Name or service not known|Temporary failure in name resolution|\b(429|50[0234]) (Client|Server) Error"
)

# The first that matches wins: causes before what follows from them.
_SIGNS: tuple[tuple[str, Diagnosis], ...] = (
    (
        r"No space left on device|Disk quota exceeded",
        Diagnosis(is_full=True, problem="a file system is full", hint="free some space"),
    ),
    (
        r"changed significantly since poetry\.lock was last generated",
        Diagnosis(problem="its poetry.lock is older than its pyproject.toml", hint="run 'poetry lock' in its folder"),
    ),
    (
        r"doesn't match any versions|Package .* not found|^Could not find a matching version",
        Diagnosis(
            problem="a dependency is not in the package index in the version asked for",
            hint="check its name and version, and which index is used (supervisor.index_url)",
        ),
    ),
    (
        r"version solving failed",
        Diagnosis(problem="its dependencies contradict each other", hint="relax one of the versions named in the log"),
    ),
    (
        r"Current Python version .* is not allowed by the project|is not supported by the project",
        Diagnosis(
            problem="the Python chosen is not allowed by pyproject.toml",
            hint="let requires-python and tool.poetry.dependencies.python say the same",
        ),
    ),
    (
        r"not found in\s+known hashes|Hash for .* not found",
        Diagnosis(transient=True, problem="a download differs from the hash in poetry.lock"),
    ),
    (
        _NETWORK,
        Diagnosis(
            transient=True,
            problem="the package index cannot be reached",
            hint="check the network, or name an index that can be reached in supervisor.index_url",
        ),
    ),
    (
        r"No module named '?(ensurepip|venv)",
        Diagnosis(
            problem="this Python cannot make virtual environments",
            hint="install its venv module (Debian: python3-venv)",
        ),
    ),
    (
        r"(error: command .* failed|Failed building wheel|ChefBuildError|Unable to find installation candidates)",
        Diagnosis(
            problem="a dependency has no wheel for this Python and cannot be built here",
            hint="choose a release that has one, or install the compiler and headers it asks for",
        ),
    ),
)


def diagnose(lines: Sequence[str]) -> Diagnosis:
    """The first known sign in ``lines``; an empty diagnosis where there is none."""
    # Poetry folds its messages at the width of the terminal, so a sign may span lines.
    text = re.sub(r"\s+", " ", "\n".join(lines))
    for pattern, diagnosis in _SIGNS:
        if re.search(pattern, text, re.IGNORECASE):
            return diagnosis
    return Diagnosis()
