"""The task of a plugin: it runs in the environment of ``board`` and may import its code, but shares no memory with it.

What the two have in common is the plugin's data folder: the database that the plugin keeps there, and the file that is
written here.
"""

import json
import os
from pathlib import Path

from plugins.board.board import read_notices

DIGEST = Path(os.environ["XCORE_DATA_DIR"]) / "digest.json"
AUTHORS_NAMED = 5


def digest() -> None:
    """Write down who has put up most of the latest notices."""
    authors = [author for author, _ in read_notices()]
    counts = {author: authors.count(author) for author in dict.fromkeys(authors)}
    most = sorted(counts.items(), key=lambda item: -item[1])[:AUTHORS_NAMED]
    draft = DIGEST.with_suffix(".draft")
    draft.write_text(json.dumps({"notices": len(authors), "authors": dict(most)}))
    draft.replace(DIGEST)
    print(f"{len(authors)} notices by {len(counts)} authors")


metadata = {
    "type": "digest",
    "moduleDir": "plugins/board",
    "title": "Digest of the notice board",
    "description": "writes down once an hour who uses the notice board",
    "version": "1.0.0",
    "author": "The xcore developers",
    "con": [{"func": digest, "name": "hourly", "hours": 1, "timeout": 60, "overlap": "skip"}],
}
