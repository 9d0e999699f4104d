"""What children have said does not work in them, and keeps them from nothing."""

import logging
from collections.abc import Callable, Iterable

from supervisor.supervision.child import Child

logger = logging.getLogger(__name__)


class ChildNotes:
    """The last word of each process, logged when it is new."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """``changed``: called when there is something else to be shown."""
        self._changed = changed
        self._sentences: dict[Child, list[str]] = {}

    def said(self, child: Child, sentences: list[str]) -> None:
        """They take the place of what it said before."""
        for sentence in sentences:
            if sentence not in self._sentences.get(child, []):
                logger.warning("%s: %s", child, sentence)
        self._sentences[child] = sentences
        self._changed()

    def forget(self, child: Child) -> None:
        """Its process has ended."""
        self._sentences.pop(child, None)

    def of(self, children: Iterable[Child]) -> list[str]:
        """Each sentence once."""
        return list(dict.fromkeys(sentence for child in children for sentence in self._sentences.get(child, [])))
