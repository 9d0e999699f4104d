"""The guest: runs inside plugins' environments and owns the contract between the processes of xcore.

For plugins: ``client`` and ``sync_client``, which reach other plugins. Imported by every process of ours, so that all
else waits inside the functions.
"""

from __future__ import annotations

from typing import Any

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
    """Return an httpx.Client that reaches another plugin: ``client`` for threads."""
    from plugin_runtime import calls  # noqa: PLC0415 - see the top of the file

    return calls.sync_client(plugin, anonymous=anonymous, options=options)
