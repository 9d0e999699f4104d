"""A program of its own: says as JSON which index pip uses, and whether Poetry's default source answers.

Run by path with the supervisor's Python. Both libraries are heavy and their insides private, so neither is imported
into the supervisor; and no index is named here: Poetry and pip know theirs.
"""

import inspect
import json

import requests
from pip._internal.commands import create_command
from poetry.repositories.pypi_repository import PyPiRepository

ANSWER = "xcore-index:"
TIMEOUT = 5.0
"""Seconds to connect and to answer, each; the build that follows has minutes."""

# Poetry asks its default source for every release by itself. Mirrors that offer the simple interface only, and
# proxies that let nothing else through, fail exactly here. Any release that surely exists will do.
_RELEASE = "pypi/pip/24.0/json"


def default_source_answers(base: str) -> bool:
    try:
        return requests.get(base + _RELEASE, timeout=TIMEOUT).ok
    except requests.RequestException:
        return False


def main() -> None:
    pip_options = create_command("download").parser.parse_args([])[0]
    base = inspect.signature(PyPiRepository).parameters["url"].default
    is_default = pip_options.index_url.rstrip("/") == base.rstrip("/") + "/simple"
    answer = {
        "index_url": pip_options.index_url,
        "certificate": pip_options.cert,
        "mirror": not (is_default and default_source_answers(base)),
    }
    print(ANSWER + json.dumps(answer), flush=True)  # noqa: T201 - its standard output is its result


if __name__ == "__main__":
    main()
