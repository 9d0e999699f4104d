"""The guest: runs inside plugins' environments and owns the contract between the processes of xcore.

For authors: ``client`` and ``sync_client``, which reach plugins, and ``settings``. Imported by every process of ours,
so that all else waits inside the functions.
"""

from __future__ import annotations

from typing import Any, Optional

__version__ = "0.1.0"


def client(plugin: str, *, anonymous: bool = False, **options: Any) -> Any:
    """Return an httpx.AsyncClient that reaches another plugin, by the name of its folder.

    Paths are that plugin's own: ``await client("library").get("/books")``. The user of the request that is being served
    goes along, unless ``anonymous``. ``options`` are those of httpx.AsyncClient; ``timeout`` is 60 s.

    Raises:
        ImportError: there is no httpx in this environment.
    """
    from plugin_runtime import calls  # noqa: PLC0415 - see the top of the file

    return calls.client(plugin, anonymous=anonymous, options=options)


def sync_client(plugin: str, *, anonymous: bool = False, **options: Any) -> Any:
    """Return an httpx.Client that reaches another plugin: ``client`` for whatever is not ``async``."""
    from plugin_runtime import calls  # noqa: PLC0415 - see the top of the file

    return calls.sync_client(plugin, anonymous=anonymous, options=options)


def settings(model: Any, *, prefix: Optional[str] = None) -> Any:
    """Return ``model``, a dataclass or pydantic model, filled from the environment variables of this process.

    Field ``port`` is read from ``SHOP_PORT`` in plugin ``shop``; ``prefix`` takes the place of ``SHOP_``. A variable
    that is not there leaves the field its default.

    Raises:
        plugin_runtime.plugin_settings.SettingsError: names every variable that is missing or cannot be understood.
    """
    from plugin_runtime import plugin_settings  # noqa: PLC0415 - see the top of the file

    return plugin_settings.read(model, prefix)
