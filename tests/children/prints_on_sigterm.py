"""Prints after SIGTERM, when nobody may be reading any more, and exits with 0."""

import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
print("stopping", flush=True)
print("stopping", file=sys.stderr, flush=True)
