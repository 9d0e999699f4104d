"""For all tests."""

import signal


def pytest_configure() -> None:
    """Have what the tests start not ignore ^C: it would, where whoever began the tests did so in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
