"""What the state folder's file system can do. Everything is tried in a folder that is gone a moment later."""

import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from supervisor.doctor.finding import Finding, missing, ok, warning

LEAST = 64
"""MiB without which not even a database can be kept."""
ENOUGH = 1024
"""MiB for some environments, 50 to 200 each, and their logs."""
FILES = 10_000
"""Free inodes: an environment has some thousand files."""

_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "fuse.sshfs",
    "virtiofs",
}
_VOLATILE = {"tmpfs", "ramfs"}


def ground(folder: Path) -> Path:
    """The folder itself, or where it would be made: the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def scratch(where: Path) -> "tempfile.TemporaryDirectory[str]":
    """A folder for one probe; a short name, since the paths of sockets in it must be short."""
    return tempfile.TemporaryDirectory(prefix=".d", dir=where)


def writable(where: Path) -> Finding:
    """Write a file in the way in which xcore writes all of its own: a draft, synced, then renamed."""
    try:
        with scratch(where) as folder:
            draft = Path(folder, "draft")
            with draft.open("wb") as file:
                file.write(bytes(65536))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(Path(folder, "file"))
    except OSError as error:
        return missing(f"cannot write to {where}: {error.strerror or error}")
    return ok(f"{where} can be written to")


# --- file system ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileSystem:
    """``executable``: programs and libraries on it may be run."""

    kind: str
    executable: bool


def file_system(where: Path) -> Finding:
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    executable = not os.statvfs(where).f_flag & os.ST_NOEXEC
    return judge_file_system(FileSystem(kind_of(mountinfo, where.resolve()), executable))


def judge_file_system(found: FileSystem) -> Finding:
    elsewhere = "let supervisor.state_dir name a folder on a local disk"
    if not found.executable:
        return missing(
            f"{found.kind}, mounted noexec",
            "compiled packages in a plugin's environment cannot be loaded",
            f"mount it without noexec, or {elsewhere}",
        )
    if found.kind in _NETWORK:
        meaning = "SQLite's write-ahead log needs memory shared with the disk's machine: the database may be damaged"
        return warning(
            f"{found.kind}, a network file system", meaning, f"{elsewhere}, or DATA_URL a PostgreSQL database"
        )
    if found.kind in _VOLATILE:
        meaning = "at a restart of the machine all state is lost: database, tokens, data of plugins, environments"
        return warning(f"{found.kind}, in memory", meaning, elsewhere)
    return ok(found.kind)


def kind_of(mountinfo: str, path: Path) -> str:
    """Type of the file system that ``path``, without links, lies on; ``mountinfo``: as in proc(5), the last on top."""
    best, kind = Path("/"), "unknown"
    for line in mountinfo.splitlines():
        mount, _, system = line.partition(" - ")
        point = Path(mount.split()[4].replace("\\040", " "))
        if path.is_relative_to(point) and point.is_relative_to(best):
            best, kind = point, system.split()[0]
    return kind


# --- space ----------------------------------------------------------------------------------------------------


def space(where: Path) -> Finding:
    status = os.statvfs(where)
    files = status.f_favail if status.f_files else None
    return judge_space(shutil.disk_usage(where).free // 2**20, files)


def judge_space(free: int, files: int | None) -> Finding:
    """``free``: MiB; ``files``: that can still be made, None where the file system has no limit."""
    found = f"{free} MiB free"
    if files is not None and files < FILES:
        found += f", room for {files} files"
        return missing(found) if files < FILES // 10 else warning(found)
    if free < ENOUGH:
        return missing(found) if free < LEAST else warning(found)
    return ok(found)


# --- FIFOs and locks ------------------------------------------------------------------------------------------


def fifos(where: Path) -> Finding:
    """Open one for reading and writing at once, as the output of every process is."""
    with scratch(where) as folder:
        path = Path(folder, "f")
        os.mkfifo(path, 0o600)
        both = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        try:
            os.write(both, b"!")
            passed = os.read(both, 1) == b"!"
        finally:
            os.close(both)
    return ok("opened for reading and writing at once") if passed else missing("what is written does not come out")


def locks(where: Path) -> Finding:
    """Lock a file of our own twice; the second time must fail."""
    with scratch(where) as folder:
        path = Path(folder, "l")
        with path.open("wb") as first, path.open("rb") as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return ok("flock excludes")
    return missing("flock lets two in")
