"""Tells where xcore answers: other programs by a file of the state folder, whoever started it on stdout."""

import json
import logging
import sys
from contextlib import suppress

from supervisor.state_folder import StateFolder

logger = logging.getLogger(__name__)


def announce(folder: StateFolder, url: str) -> None:
    """Say that the gateways answer at ``url``. Serving goes on where nobody can be told."""
    try:
        write_address(folder, url)
    except OSError as error:
        logger.error("Cannot write %s: %s; serving goes on", folder.gateway_file, error)  # noqa: TRY400
    # On stdout, for whoever started us; the log goes to stderr.
    with suppress(OSError):  # a terminal that went away is no reason not to serve
        sys.stdout.write(
            f"xcore serves {url}\n"
            f"  docs         {url}/docs\n"
            f"  health       {url}/health\n"
            f"  admin token  {folder.admin_token}\n"
        )
        sys.stdout.flush()


def write_address(folder: StateFolder, url: str) -> None:
    """Readers see the whole file or none."""
    draft = folder.gateway_file.with_suffix(".tmp")
    draft.write_text(json.dumps({"url": url}) + "\n")
    draft.replace(folder.gateway_file)


def read_address(folder: StateFolder) -> str:
    """Where the gateways answer now; "" where they do not."""
    try:
        return str(json.loads(folder.gateway_file.read_text())["url"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def withdraw(folder: StateFolder) -> None:
    """Nobody answers any more."""
    folder.gateway_file.unlink(missing_ok=True)
