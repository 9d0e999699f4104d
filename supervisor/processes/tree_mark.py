"""The mark of a state folder's processes: a variable in the environment of each, by which the guard finds them again.

Whatever a plugin starts inherits it, however it gets away from its parents. It is no secret, since every plugin sees
it; who bears it is ended together with the rest.
"""

import os
import secrets
from pathlib import Path

from supervisor.errors import XcoreError

MARK_BYTES = 16
"""Random bytes; no two state folders of a machine may ever have the same mark."""


def tree_mark(path: Path) -> str:
    """Return the mark that ``path`` keeps, a new one where there is none yet.

    The file also says of which folder it is: with the copy of a whole project the mark would be the copy's, too, and
    each one's guard would end the other one's processes.

    Raises:
        XcoreError: it can be neither read nor written.
    """
    try:
        folder = path.parent.stat()
        owner = f"{folder.st_dev}:{folder.st_ino}"
        kept = path.read_text(encoding="ascii", errors="replace").split() if path.exists() else []
        if len(kept) == 2 and kept[1] == owner:  # noqa: PLR2004 - mark and folder
            return kept[0]
        mark = secrets.token_hex(MARK_BYTES)
        _write(path, f"{mark} {owner}\n")
    except OSError as error:
        raise XcoreError(
            f"cannot keep the mark of our processes in {path}: {error.strerror}", hint="let this user read and write it"
        ) from error
    return mark


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    draft.rename(path)
