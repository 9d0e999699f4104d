"""Makes the state folder, and empties ``run/`` of what a dead supervisor left in it."""

from contextlib import suppress

from supervisor.errors import XcoreError
from supervisor.state_folder import StateFolder


def make_state_folder(folder: StateFolder) -> None:
    """Only its owner may look into it: it holds tokens, and sockets that give power over everything.

    Raises:
        XcoreError: it cannot be made.
    """
    try:
        for path in (folder.root, folder.run, folder.logs, folder.data):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.root.chmod(0o700)
        folder.run.chmod(0o700)
    except OSError as error:
        raise XcoreError(
            f"cannot make the state folder {folder.root}: {error.strerror}",
            hint="let supervisor.state_dir name a folder that this user may write to",
        ) from error


def empty_run_folder(folder: StateFolder) -> bool:
    """Remove stale sockets and FIFOs, and tell whether there were any: then a supervisor died here, not long ago maybe.

    Only under the lock of the state folder: they would be another supervisor's.
    """
    stale = list(folder.run.iterdir())
    for path in stale:
        with suppress(FileNotFoundError, IsADirectoryError):
            path.unlink()
    return bool(stale)
