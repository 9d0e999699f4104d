"""Makes the state folder, and clears ``run/`` of what a dead supervisor left in it and nobody uses."""

from collections.abc import Collection
from contextlib import suppress

from supervisor.errors import XcoreError
from supervisor.state_folder import StateFolder


def make_state_folder(folder: StateFolder) -> None:
    """Only its owner may look into it: it holds tokens, and sockets that give power over everything.

    Raises:
        XcoreError: it cannot be made.
    """
    try:
        for path in (folder.root, folder.run, folder.logs, folder.data, folder.locks):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.root.chmod(0o700)
        folder.run.chmod(0o700)
    except OSError as error:
        raise XcoreError(
            f"cannot make the state folder {folder.root}: {error.strerror}",
            hint="let supervisor.state_dir name a folder that this user may write to",
        ) from error


def clear_run_folder(folder: StateFolder, keep: Collection[str], *, keep_records: bool = False) -> bool:
    """Remove stale sockets, FIFOs and records, and tell whether there was anything: then a supervisor died here.

    Only under the lock of the state folder: they would be another supervisor's. ``keep``: tokens of processes that
    live; while there are any, the file that says where gateways answer and the socket of their local side stay as
    well. ``keep_records``: for whoever has to know which processes there were.
    """
    found = list(folder.run.iterdir())
    record = folder.process_record("any").suffix
    for path in found:
        is_used = path.stem in keep or (keep and path in {folder.gateway_file, folder.local_socket})
        if not is_used and not (keep_records and path.suffix == record):
            with suppress(FileNotFoundError, IsADirectoryError):
                path.unlink()
    return bool(found)


def remove_files(folder: StateFolder, token: str) -> None:
    """Remove what one process leaves in the folder."""
    for path in folder.run.glob(f"{token}.*"):
        path.unlink(missing_ok=True)
