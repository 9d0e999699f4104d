"""The configuration in force as people may see it: one JSON document without secrets."""

import re
from typing import Any

from supervisor.config.configuration import Configuration

MASK = "***"

_PASSWORDS = re.compile(r"(?<=://)(?P<user>[^/\s:@]*:)\S*(?=@)|(?P<query>[?&]password=)[^&\s]*", re.IGNORECASE)
SECRET_NAME = re.compile(r"PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)
"""At least what spawn.py takes for a secret: rather a value too many hidden than one shown."""


def effective(configuration: Configuration) -> dict[str, Any]:
    """All sections with their defaults, resolved paths, what the environment overrides; of plugins what was written."""
    paths = {
        "config": configuration.path,
        "state_dir": configuration.state_dir,
        "plugins": configuration.plugins_directory,
        "tasks": configuration.tasks_directory,
    }
    document = {
        "manager": configuration.manager.model_dump(mode="json"),
        "gateway": configuration.gateway.model_dump(mode="json"),
        "supervisor": configuration.supervisor.model_dump(mode="json"),
        "plugins": {
            name: keys.model_dump(mode="json", exclude_unset=True) for name, keys in configuration.plugins.items()
        },
        "tasks": {name: keys.model_dump(mode="json", exclude_unset=True) for name, keys in configuration.tasks.items()},
        "paths": {name: str(path) for name, path in paths.items()},
        "database_url": configuration.database_url,
        "log_level": configuration.log_level,
        "overridden": sorted(configuration.overridden),
    }
    return {name: _masked(value) for name, value in document.items()}


def _masked(value: Any, name: str = "", *, secret: bool = False) -> Any:
    """``name``: the key of ``value``; ``secret``: hide it whatever it holds."""
    if isinstance(value, dict):
        # Names of environment variables tell what they hold; our own keys hold no secrets but in addresses.
        variables = name == "env"
        return {
            key: _masked(item, key, secret=variables and SECRET_NAME.search(key) is not None)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if not isinstance(value, str):
        return value
    return MASK if secret else mask_passwords(value)


def mask_passwords(text: str) -> str:
    """Hide the passwords of the addresses in it."""
    return _PASSWORDS.sub(_mask_password, text)


def _mask_password(match: re.Match[str]) -> str:
    return f"{match['user'] or match['query']}{MASK}"
