"""The prefixes that plugins claim as far as their files say so in so many words: none of their code is run."""

import ast
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from supervisor.config.configuration import Configuration
from supervisor.config.regular_file import UnreadableFileError, read_text
from supervisor.errors import PluginInvalidError, PluginRefusedError
from supervisor.plugins.folder import plugin_folders
from supervisor.preparation.manifest import check_servable, parse_manifest
from supervisor.preparation.prefixes import Claims
from supervisor.preparation.worker_spec import default_prefix, manifest_prefix


def written_prefixes(configuration: Configuration) -> dict[str, str]:
    """By plugin of the plugin directory. One that computes its prefix, or cannot be read, is left out.

    Raises:
        ConfigurationError: the plugin directory cannot be read.
    """
    if not configuration.plugins_directory.is_dir():
        return {}
    claimed = {
        folder.name: written_prefix(folder.name, folder, configuration)
        for folder in plugin_folders(configuration.plugins_directory)
    }
    return {name: prefix for name, prefix in claimed.items() if prefix is not None}


def claims_of(prefixes: Mapping[str, str]) -> Claims:
    """The claims of plugins that nobody has asked; what is not to be had is nobody's."""
    claims = Claims()
    for plugin, prefix in prefixes.items():
        with suppress(PluginRefusedError):
            claims.claim(plugin, prefix)
    return claims


def written_prefix(name: str, folder: Path, configuration: Configuration) -> str | None:
    """What one claims, None where only its code can tell."""
    try:
        manifest = parse_manifest(name, read_text(folder / "pyproject.toml"), configuration.plugin_overrides(name))
        check_servable(manifest)
        known = manifest_prefix(manifest)
        if known is not None:
            return known
        entry = configuration.manager.plugins.entry_point.replace(".", "/")
        sources = [read_text(folder / file) for file in (f"{entry}.py", "__init__.py")]
    except (PluginInvalidError, UnreadableFileError):
        return None
    found = next((info for source in sources for info in _plugin_info(source or "")), None)
    return None if found is None else _api_prefix(found, default_prefix(name))


def _plugin_info(source: str) -> Iterator[ast.Dict]:
    """Each dict that is assigned to PLUGIN_INFO at the top of a module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the author's backslashes
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # MemoryError: nested too deeply
            return
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name("PLUGIN_INFO")], value=ast.Dict() as info)
                | ast.AnnAssign(target=ast.Name("PLUGIN_INFO"), value=ast.Dict() as info)
            ):
                yield info


def _api_prefix(info: ast.Dict, default: str) -> str | None:
    for key, value in zip(info.keys, info.values, strict=True):
        match key, value:
            case ast.Constant("Api_prefix"), ast.Constant(str() as prefix):
                return prefix or default
            case ((None | ast.Constant("Api_prefix")), _):  # of another dict, or computed
                return None
    return default
