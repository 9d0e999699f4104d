"""What the kernel tells of files, counted."""

from supervisor.watching import folder_watch
from supervisor.watching.directory_events import DirectoryEvents

OF_A_SAVE = 1
"""Events of a file that is written anew: it is closed."""


def counted_events(monkeypatch):
    """Return a list that gets one longer with each event that is a reason to look, before anybody looks."""
    events = []

    class CountedEvents(DirectoryEvents):
        def __init__(self, notify, *arguments):
            def told():
                events.append(None)
                notify()

            super().__init__(told, *arguments)

    monkeypatch.setattr(folder_watch, "DirectoryEvents", CountedEvents)
    return events
