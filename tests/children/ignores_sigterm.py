"""Goes on after SIGTERM, and says so."""

import signal

# Not a handler that prints: it may interrupt the print before it.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("ready", flush=True)
while True:
    signal.sigwait({signal.SIGTERM})
    print("ignored", flush=True)
