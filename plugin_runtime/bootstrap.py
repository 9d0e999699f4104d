"""First file of every guest: ``<python> -I -u -X utf8 .../plugin_runtime/bootstrap.py [PROGRAM]``.

PROGRAM: ``worker``, which serves a plugin and is the default, ``task``, which runs background tasks and jobs, or
``template``, of which those two are forked.

Everything up to the version gate must be understood by any Python there ever was, since a plugin's environment may
hold any of them: no annotations, no f-strings, no import but ``sys``. After the gate the package ``plugin_runtime`` is
registered from its own folder, so that the folder above it, which holds our other packages, never gets on sys.path.
"""

import sys

if sys.version_info < (3, 9):  # noqa: UP036 - the gate is for the Pythons that ruff believes are not there
    sys.stderr.write(
        "cannot run this plugin on Python %d.%d (%s): xcore needs 3.9 or later; set requires-python in its "  # noqa: UP031
        "pyproject.toml to '>=3.9'\n" % (sys.version_info[0], sys.version_info[1], sys.executable)
    )
    sys.exit(79)  # ExitCode.UNSUPPORTED_PYTHON

import importlib.util
import os
from pathlib import Path

# multiprocessing's "spawn" imports the main file again, as __mp_main__: that process is the plugin's, not a guest.
if __name__ == "__main__":
    program = sys.argv.pop(1) if len(sys.argv) > 1 else "worker"  # foreign code reads sys.argv next
    if program not in ("worker", "task", "template"):
        sys.stderr.write("cannot run program %r: there are 'worker', 'task' and 'template'\n" % program)  # noqa: UP031
        sys.exit(2)  # ExitCode.USAGE

    here = Path(__file__).absolute().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).absolute() != here]
    runtime = os.environ.pop("XCORE_RUNTIME", "")  # ENV_RUNTIME
    if runtime:
        sys.path.append(runtime)

    init = here / "__init__.py"
    spec = importlib.util.spec_from_file_location("plugin_runtime", init, submodule_search_locations=[str(here)])
    if spec is None or spec.loader is None:
        sys.exit("cannot load plugin_runtime from " + str(here))
    package = importlib.util.module_from_spec(spec)
    sys.modules["plugin_runtime"] = package
    spec.loader.exec_module(package)

    try:
        import msgpack

        # The plugin's own goes before ours, and the first with limits in its unpacker is 1.0.
        if msgpack.version < (1, 0):
            sys.stderr.write(
                "cannot run with msgpack %d.%d, which the plugin's environment holds: xcore needs 1.0 or later; "  # noqa: UP031
                "raise it in the plugin's pyproject.toml\n" % msgpack.version[:2]
            )
            sys.exit(78)  # ExitCode.INVALID

        if program == "task":
            from plugin_runtime.task import main
        elif program == "template":
            from plugin_runtime.template import main
        else:
            from plugin_runtime.worker import main
    except ImportError as error:
        # Without msgpack there is no control channel to report over; stderr and the exit code have to do.
        sys.stderr.write("cannot start the %s with %s: %s\n" % (program, sys.executable, error))  # noqa: UP031
        sys.exit(70)  # ExitCode.START_FAILED
    sys.exit(main())
