"""The supervisor's own log: where it goes, and how a line looks."""

import logging
import os
import sys
import time

from supervisor.config.configuration import Configuration
from supervisor.errors import ConfigurationError
from supervisor.printable import one_line

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s"

_LOUD = ("alembic", "asyncio", "sqlalchemy", "watchdog", "httpx", "httpcore")
"""Libraries whose everyday messages concern nobody who operates xcore."""


class OneLineFormatter(logging.Formatter):
    """Makes one line of each message, whatever it quotes; tracebacks follow it in lines of their own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = one_line(record.message)
        return super().formatMessage(record)


def configure_logging(configuration: Configuration) -> None:
    """Send everything to stderr, to a file, or to both, as ``manager.log`` says. Times are UTC, as in plugins' logs.

    Raises:
        ConfigurationError: the file cannot be opened.
    """
    formatter = OneLineFormatter(FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handlers: list[logging.Handler] = []
    if configuration.manager.log.console:
        handlers.append(logging.StreamHandler(sys.stderr))
    if configuration.log_file is not None:
        handlers.append(_file_handler(configuration))
    root = logging.getLogger()
    for handler in handlers or [logging.NullHandler()]:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(configuration.log_level)
    for name in _LOUD:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _file_handler(configuration: Configuration) -> logging.Handler:
    path = configuration.log_file
    try:
        assert path is not None  # noqa: S101 - the caller looked
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            str(configuration.path), "manager.log.file", f"cannot open {path}: {error.strerror}"
        ) from error


def let_go_of_output() -> None:
    """Give up what stdout and stderr do not take any more: a terminal that went away, a pipe without a reader.

    To be called last: the interpreter flushes them at its end, and makes exit code 120 of a failure.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
