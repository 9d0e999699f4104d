"""Start a guard: ``python -m supervisor.guard``, by the supervisor, with its Duty as arguments."""

import faulthandler
import os
import signal
import sys

from plugin_runtime.protocol import (
    ENV_CHILD,
    ENV_CONTROL,
    ENV_NONCE,
    ENV_TREE,
    PROTOCOL_VERSION,
    STACKS_SIGNAL,
    ExitCode,
    Hello,
)
from supervisor.folder_lock import FolderLock
from supervisor.guard.aftermath import Aftermath
from supervisor.guard.attendance import Attendance, open_pidfd
from supervisor.guard.channel import GuardChannel
from supervisor.guard.duty import Duty
from supervisor.guard.log import GuardLog
from supervisor.guard.process_table import identify
from supervisor.state_folder import StateFolder


def main() -> int:
    """Guard until told to leave, or until everything is ended; return the exit code."""
    # Neither a terminal nor whoever signals everybody at once ends the one that is there for afterwards. SIGTERM does:
    # the guard of the next supervisor has taken its place, and is ready.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.register(STACKS_SIGNAL)
    try:
        duty = Duty.parse(sys.argv[1:])
        channel = GuardChannel(os.environ[ENV_CONTROL], _hello())
        mark = os.environ[ENV_TREE]
    except (ValueError, KeyError) as error:
        sys.stderr.write(f"cannot start a guard: {error!r}; it is started by 'xcore up', not by hand\n")
        return ExitCode.USAGE
    return _guard(duty, channel, mark)


def _guard(duty: Duty, channel: GuardChannel, mark: str) -> int:
    folder = StateFolder(duty.state_folder)
    log = GuardLog(folder.logs / "guard.log", os.environ[ENV_CHILD])
    aftermath = Aftermath(duty, mark, FolderLock(folder.lock_file, is_guard=True), log.say)
    pidfd = open_pidfd(duty.supervisor)
    if pidfd is not None:
        code = Attendance(pidfd, channel, aftermath.note_children).attend()
        if code is not None:
            return code
        os.close(pidfd)
    channel.close()
    aftermath.carry_out()
    return ExitCode.OK


def _hello() -> Hello:
    identity = identify(os.getpid())
    assert identity is not None  # noqa: S101 - this process is there
    return Hello(
        PROTOCOL_VERSION,
        os.environ[ENV_CHILD],
        identity.pid,
        identity.start_ticks,
        os.environ[ENV_NONCE],
        python=sys.version.split()[0],
    )


if __name__ == "__main__":
    sys.exit(main())
