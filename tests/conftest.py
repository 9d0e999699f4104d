"""For all tests."""

import signal

_DEFAULT = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}


def pytest_configure() -> None:
    """Have what the tests start not ignore ^C or a hangup: it would, where the tests were begun in the background."""
    for number, handler in _DEFAULT.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
