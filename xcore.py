"""Entry point of the command ``xcore``; its one task is to find out whether our packages are the ones in front.

``supervisor`` is also the import name of supervisord. Where that is installed in the same environment, or lies in a
folder that comes first on sys.path, everything after this would fail with an import error that explains nothing.
"""

import importlib.util
import sys
from pathlib import Path

_PACKAGES = ("plugin_runtime", "supervisor", "gateway")


def foreign_package() -> str:
    """Say which package is not ours and where it lies; nothing when all are ours."""
    here = Path(__file__).resolve().parent
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent != here / name:
            found = f"{origin} is in front of it" if origin else "it is not installed"
            return f"cannot use the package {name!r} of xcore-supervisor: {found}"
    return ""


def main() -> None:
    """Run the command line; exit code 1 and one sentence where another package stands in the way."""
    problem = foreign_package()
    if problem:
        sys.exit(f"xcore: {problem}; install xcore-supervisor in an environment of its own")
    from supervisor.cli.main import main as run  # noqa: PLC0415 - only now is it known to be ours

    run()


if __name__ == "__main__":
    main()
