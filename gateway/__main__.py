"""Start a gateway: ``python -m gateway``, by the supervisor, which says over the control channel what to do."""

import faulthandler
import logging
import os
import sys

import uvloop

from gateway import memory
from gateway.app import Gateway
from gateway.control import ControlAddress
from gateway.errors import HandshakeRefusedError
from gateway.server import quiet
from plugin_runtime.protocol import STACKS_SIGNAL, ExitCode
from plugin_runtime.wire import WireError

logger = logging.getLogger("gateway")


def main() -> int:
    """Run one gateway and return its exit code."""
    # By C code, so that it works in a stuck event loop, too; unregistered, the signal would be death.
    faulthandler.register(STACKS_SIGNAL)
    memory.tune()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").addFilter(quiet)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        gateway = Gateway(ControlAddress.take_from(os.environ))
    except KeyError as error:
        logger.error("Cannot start a gateway: %s is not set; use 'xcore up'", error.args[0])  # noqa: TRY400 - for people
        return ExitCode.USAGE
    try:
        code: ExitCode = uvloop.run(gateway.run())
    except HandshakeRefusedError as error:
        logger.error("%s", error)  # noqa: TRY400 - the reason is the supervisor's sentence
        return ExitCode.REFUSED
    except (OSError, TimeoutError, WireError) as error:
        logger.error("Cannot reach the supervisor: %s", error)  # noqa: TRY400 - a traceback says nothing more
        return ExitCode.PARENT_LOST
    return code


if __name__ == "__main__":
    sys.exit(main())
