"""The command's entry, where another package has the name of one of ours."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

SCRIPT = Path(sys.executable).with_name("xcore")


def xcore(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The entry as ``python -c`` runs it: with the working directory first on sys.path."""
    call = f"import sys, xcore; sys.argv = {['xcore', *arguments]!r}; xcore.main()"
    return subprocess.run([sys.executable, "-c", call], cwd=folder, capture_output=True, text=True, timeout=60)


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("raise RuntimeError('the wrong package was imported')\n")
    return path


@pytest.mark.parametrize(
    "file", ["supervisor/__init__.py", "supervisor.py", "gateway/__init__.py", "plugin_runtime/__init__.py"]
)
def test_another_package_in_front_is_named_in_one_sentence(tmp_path, file):
    """supervisord is imported as ``supervisor`` as well; an import error from its insides would explain nothing."""
    foreign = write(tmp_path / file)
    done = xcore(tmp_path, "--help")
    name = file.partition("/")[0].removesuffix(".py")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"xcore: cannot use the package {name!r} of xcore-supervisor: {foreign.resolve()} is in front of it; "
        "install xcore-supervisor in an environment of its own\n"
    )


def test_a_folder_that_is_no_package_stands_in_nobodys_way(tmp_path):
    """A project may well have a folder of that name, with configuration files in it."""
    (tmp_path / "supervisor").mkdir()
    assert xcore(tmp_path, "--help").returncode == 0


@pytest.mark.slow
def test_the_installed_script_is_not_misled_by_the_working_directory(tmp_path):
    """Scripts do not search it, so ``xcore up`` works in a checkout of supervisord, too."""
    write(tmp_path / "supervisor/__init__.py")
    done = subprocess.run([SCRIPT, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Usage: xcore" in done.stdout


def test_packages_that_are_not_installed_are_named(tmp_path):
    """A copy of xcore.py alone, on a Python without the rest."""
    copy = tmp_path / "xcore.py"
    copy.write_bytes((Path(__file__).parents[1] / "xcore.py").read_bytes())
    done = subprocess.run([sys.executable, "-I", "-S", copy], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "xcore: cannot use the package 'plugin_runtime' of xcore-supervisor: it is not installed"
    )
