"""Layout of the state folder: which file lies where. Pure paths; who makes them is said at each."""

from dataclasses import dataclass
from pathlib import Path

MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path: sun_path without its final NUL, unix(7)."""
TOKEN_BYTES = 6
"""Random bytes of the token that names an incarnation's files, two characters each."""


@dataclass(frozen=True)
class StateFolder:
    """Paths below ``supervisor.state_dir``."""

    root: Path
    mark: str = ""
    """In the environment of everything that is started for this folder; "" where nobody starts anything."""

    @property
    def run(self) -> Path:
        """Sockets and FIFOs of what runs now; mode 0700."""
        return self.root / "run"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def command_socket(self) -> Path:
        return self.run / "command.sock"

    @property
    def local_socket(self) -> Path:
        """Where workers reach the gateways' local side."""
        return self.run / "local.sock"

    @property
    def gateway_file(self) -> Path:
        """{"url": ...}; appears after the first discovery, goes at the end."""
        return self.run / "gateway.json"

    @property
    def lock_file(self) -> Path:
        """Locked for the life of a supervisor; outside run/, which is emptied at start."""
        return self.root / "supervisor.lock"

    @property
    def mark_file(self) -> Path:
        """Keeps ``mark``."""
        return self.root / "tree.mark"

    @property
    def environments(self) -> Path:
        """``envs/<plugin>/<hash>``."""
        return self.root / "envs"

    @property
    def runtime(self) -> Path:
        """``runtime/<python tag>``: what the guest itself needs, per Python version."""
        return self.root / "runtime"

    @property
    def generations(self) -> Path:
        """``generations/<plugin>/<hash>``."""
        return self.root / "generations"

    @property
    def task_copies(self) -> Path:
        """``generations/_tasks/<task>/<hash>``; no plugin can have that name."""
        return self.generations / "_tasks"

    @property
    def data(self) -> Path:
        """``data/<plugin>``, kept for ever."""
        return self.root / "data"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    def concured_lock(self, plugin: str) -> Path:
        """Locked by the worker that runs ``Plugin.concured``. Never removed: a lock is a file's, not a name's."""
        return self.locks / f"{plugin}.concured"

    @property
    def logs(self) -> Path:
        """``logs/<name>.log``, rotated."""
        return self.root / "logs"

    @property
    def build_logs(self) -> Path:
        """``logs/builds/<plugin>/<number>-<hash>.log``."""
        return self.logs / "builds"

    @property
    def interpreters(self) -> Path:
        """What the installed Pythons answered when they were asked for their version."""
        return self.root / "interpreters.json"

    @property
    def database(self) -> Path:
        return self.root / "manager.db"

    @property
    def jwt_key(self) -> Path:
        return self.root / "jwt.key"

    @property
    def admin_token(self) -> Path:
        """A superadmin token made at first start; mode 0600."""
        return self.root / "admin.token"

    def link_socket(self, token: str) -> Path:
        """Unix socket paths end at 107 bytes: named by a short token, whatever the plugin is called."""
        return self.run / f"{token}.link"

    def process_record(self, token: str) -> Path:
        """What the next supervisor has to know of one process."""
        return self.run / f"{token}.process"

    def door_socket(self, token: str) -> Path:
        """Where a gateway hands the listening socket over."""
        return self.run / f"{token}.door"

    def longest_socket(self) -> Path:
        """As long as the path of any socket in here."""
        return self.link_socket("x" * 2 * TOKEN_BYTES)

    def output_fifo(self, token: str, stream: str) -> Path:
        """``stream``: "out" or "err"."""
        return self.run / f"{token}.{stream}"
