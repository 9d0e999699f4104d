"""How Poetry is called: from the supervisor's own environment, on a venv of ours, knowing nothing of the user's."""

import sys
from collections.abc import Mapping
from pathlib import Path

from supervisor.environments.package_index import PackageSource

# What a build of a source distribution and a way to the network need. Everything else stays out: a setup.py is
# foreign code, and our own environment holds secrets (DATA_URL, XCORE_TOKEN, ...).
_PERSON = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TMPDIR"}
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
_TRUST = {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "SSH_AUTH_SOCK"}
_COMPILERS = {"CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "LIBRARY_PATH", "CPATH", "PKG_CONFIG_PATH"}
_INHERITED = frozenset(_PERSON | _PROXIES | _TRUST | _COMPILERS)
_INHERITED_PREFIXES = ("POETRY_HTTP_BASIC_", "POETRY_CERTIFICATES_")
"""Credentials and certificates of the sources that a pyproject.toml names."""


def lock_command() -> list[str]:
    """Resolve the pyproject.toml of the working directory into its poetry.lock."""
    return [sys.executable, "-I", "-m", "poetry", "lock", "--no-interaction", "--no-ansi"]


def install_command(*, all_groups: bool = False) -> list[str]:
    """Install what the poetry.lock of the working directory says."""
    groups = [] if all_groups else ["--only", "main"]
    return [sys.executable, "-I", "-m", "poetry", "install", *groups, "--no-root", "--no-interaction", "--no-ansi"]


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of ``environment`` that installers may see."""
    return {k: v for k, v in environment.items() if k in _INHERITED or k.startswith(_INHERITED_PREFIXES)}


def variables(environment: Mapping[str, str], venv: Path, cache: Path, source: PackageSource) -> dict[str, str]:
    """The whole environment of a Poetry that installs into ``venv``."""
    kept = inherited(environment)
    return (
        kept
        | {
            "VIRTUAL_ENV": str(venv),
            "PATH": f"{venv / 'bin'}:{kept.get('PATH', '/usr/bin:/bin')}",
            "POETRY_CACHE_DIR": str(cache),
            # Never made: what matters is that the user's is not read.
            "POETRY_CONFIG_DIR": str(cache / "no-configuration"),
            "POETRY_VIRTUALENVS_IN_PROJECT": "false",
            # A keyring may open a dialog, or wait for one that nobody sees.
            "POETRY_KEYRING_ENABLED": "false",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "PYTHONUTF8": "1",
        }
        | source.variables
    )
