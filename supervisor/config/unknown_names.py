"""Sections of config.json for plugins and tasks that are not there: no error, since a folder or file may come later."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from supervisor.config.problems import dotted
from supervisor.spelling import nearest_or_all

logger = logging.getLogger(__name__)


def unknown_names(section: str, keys: Mapping[str, object], known: Collection[str], directory: Path) -> list[str]:
    """A sentence for each key of ``section``, plugins or tasks, that is the name of none in ``directory``."""
    kind = section.removesuffix("s")
    hint = "" if known else f"it counts as soon as there is a {kind} of that name"
    return [
        f"{dotted((section, name))} has no effect: there is no {kind} {name!r} in {directory}; "
        f"{hint or nearest_or_all(name, known)}"
        for name in sorted(keys.keys() - set(known))
    ]


def warn_of_unknown_names(section: str, keys: Mapping[str, object], known: Collection[str], directory: Path) -> None:
    """Log what ``unknown_names`` finds."""
    for problem in unknown_names(section, keys, known, directory):
        logger.warning("Configuration: %s", problem)
