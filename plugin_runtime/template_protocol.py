"""The contract of templates: what they are told, and what they and the processes forked from them say.

Part of the contract, with the rules of protocol.py: frozen dataclasses, no behaviour, standard library only,
Python 3.9. The messages travel over the same control channel.
"""

from __future__ import annotations

from dataclasses import dataclass

WORKER_PROGRAM = "worker"
TASK_PROGRAM = "task"
TEMPLATE_PROGRAM = "template"
"""What bootstrap.py starts by name; a template forks the first two. bootstrap.py spells them out, since it runs before
this can be imported."""

UNSAFE = "TemplateUnsafe"
"""Type of the Failed of a template that an import has made unsafe to fork; ``location`` names the module."""
MOST_MODULES = 4096
"""Modules in one message; with names of the longest kind it still fits into a frame."""
LONGEST_NAME = 200
"""Characters of a module's dotted name."""


@dataclass(frozen=True)
class TemplateSettings:
    """Everything a template needs; sent in Welcome. ``modules``: in this order; what cannot be imported is left out."""

    owner: str
    modules: list[str]
    adopt_grace: float = 10.0


@dataclass(frozen=True)
class NotImported:
    """What a template could not import; said before Ready, where there is any. By name, with the reason for people."""

    reasons: dict[str, str]


@dataclass(frozen=True)
class Fork:
    """Fork a process that runs ``program`` as ``child``: answered by Forked or NotForked."""

    child: str
    nonce: str
    program: str  # WORKER_PROGRAM or TASK_PROGRAM
    environment: dict[str, str]  # the whole of it
    stdout: str  # path of a FIFO
    stderr: str


@dataclass(frozen=True)
class Forked:
    """Answer to Fork: the process exists, has its output, leads a session, and its parent is not the template."""

    pid: int
    start_ticks: int


@dataclass(frozen=True)
class NotForked:
    """Answer to Fork: there is no new process."""

    reason: str


@dataclass(frozen=True)
class Imported:
    """What a ready process has imported of Python and its environment, and its template had not, in that order.

    The next template imports it, so that the next process finds it there. At most MOST_MODULES, each a dotted name of
    identifiers with at most LONGEST_NAME characters.
    """

    modules: list[str]
