from plugins.events import PLUGIN_INFO, Plugin, router

__all__ = ["PLUGIN_INFO", "Plugin", "router"]
