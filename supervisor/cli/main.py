"""The command ``xcore``: which commands there are. Heavy imports wait until a command needs them."""

import sys

import typer

from plugin_runtime.protocol import ExitCode
from supervisor.cli import authoring, doctor, jobs, lifetime, plugins, tasks, tokens
from supervisor.cli.config_commands import config_app
from supervisor.errors import NotRunningError, XcoreError

app = typer.Typer(
    name="xcore",
    help="Serve plugins from processes and environments of their own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
lifetime.add_to(app)
doctor.add_to(app)
authoring.add_to(plugins.app)
app.add_typer(plugins.app, name="plugin")
app.add_typer(tasks.app, name="task")
app.add_typer(jobs.app, name="job")
app.add_typer(tokens.app, name="token")
app.add_typer(config_app, name="config")


def main() -> None:
    """Run one command; every expected failure is one line on stderr and an exit code: 1 failed, 3 not running."""
    try:
        app()
    except NotRunningError as error:
        _fail(error, ExitCode.NOT_RUNNING)
    except XcoreError as error:
        _fail(error, ExitCode.FAILED)


def _fail(error: XcoreError, code: ExitCode) -> None:
    sys.stderr.write(f"xcore: {error}\n")
    sys.exit(code)
