"""LibraryHub: the plugin is put together here and only named in run.py."""

from .api import router

PLUGIN_INFO = {
    "name": "LibraryHub",
    "version": "1.0.0",
    "author": "The xcore developers",
    "Api_prefix": "/app/library",
    "tag_for_identified": ["library", "books"],
}


class Plugin:
    def run(self) -> None:
        """Part of the contract; the tables are made when the plugin starts."""


__all__ = ["PLUGIN_INFO", "Plugin", "router"]
