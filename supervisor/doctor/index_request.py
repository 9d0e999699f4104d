"""A program of its own: asks the package index that stands in for Poetry's default source for one package.

Run by path with the supervisor's Python, and with the environment that Poetry is given: by the same library, over the
same proxies, with the same certificates. The address may hold a password, so it comes in the environment.
"""

import os
import sys

import requests

TIMEOUT = 3.0
"""Seconds to connect and to answer, each; who asks wants to know it soon."""
_PACKAGE = "pip"
"""Any package that surely exists will do."""


def main() -> None:
    address = f"{os.environ['POETRY_PYPI_MIRROR_URL'].rstrip('/')}/{_PACKAGE}/"
    try:
        response = requests.get(address, timeout=TIMEOUT, stream=True)
    except requests.RequestException as error:
        # Its text repeats the address; what kind of error it is says enough.
        sys.exit(f"no answer ({type(error).__name__})")
    if not response.ok:
        sys.exit(f"it answers {response.status_code} {response.reason}")


if __name__ == "__main__":
    main()
