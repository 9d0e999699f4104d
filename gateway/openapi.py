"""One OpenAPI document of the gateway's own interface and every plugin's. Pure.

Names that more than one document uses become ``<plugin>__Name`` in each plugin's part: a name must not change its
meaning with the order in which plugins happen to start. Documents come from plugins, so nothing about their shape is
taken for granted: what is not where OpenAPI wants it is left out.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.openapi_upgrade import upgrade

Json = dict[str, Any]

_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_REFERENCE = re.compile(r"#/components/([^/]+)/([^/]+)(.*)", re.DOTALL)
# Values of these keys are the plugin's data: a "$ref" in them is text.
_DATA = frozenset({"example", "examples", "default", "const", "enum", "value"})
# Keys of these are names chosen by people, never keywords.
_NAMED = frozenset(
    {"properties", "patternProperties", "$defs", "dependentSchemas", "responses", "callbacks", "headers"}
)


class MalformedDocumentError(ValueError):
    """Not an OpenAPI 3 document, or one that nests too deeply to be read."""


@dataclass(frozen=True)
class PluginDocument:
    """What a plugin says about itself. ``prefix``: where it is served, "/" for everywhere."""

    plugin: str
    prefix: str
    document: Json


def parse(plugin: str, prefix: str, document: bytes) -> PluginDocument:
    """Read a plugin's document and bring it to version 3.1.

    Raises:
        MalformedDocumentError: it cannot be read.
    """
    try:
        parsed = json.loads(document)
        if not isinstance(parsed, dict) or not str(parsed.get("openapi", "")).startswith("3."):
            raise MalformedDocumentError(f"plugin {plugin!r} sent no OpenAPI 3 document")
        return PluginDocument(plugin, prefix, upgrade(parsed))
    except (ValueError, RecursionError) as error:
        raise MalformedDocumentError(f"cannot read the OpenAPI document of plugin {plugin!r}: {error}") from error


def merge(core: Json, plugins: Iterable[PluginDocument]) -> Json:
    """Return ``core`` with the paths, components and tags of every plugin; nothing given is changed."""
    # "/" last: what somebody else serves is not the catch-all's.
    documents = sorted(plugins, key=lambda item: (item.prefix == "/", item.plugin))
    counts = Counter(_component_names(core))
    for item in documents:
        counts.update(_component_names(item.document))
    merged = {**core, "paths": dict(_mapping(core.get("paths"))), "components": {}, "tags": list(core.get("tags", []))}
    for kind, name, component in _components(core):
        merged["components"].setdefault(kind, {})[name] = component
    for item in documents:
        _add(merged, item, _Renamer(item, counts))
    return merged


def _add(merged: Json, item: PluginDocument, renamer: "_Renamer") -> None:
    try:
        paths = {path: renamer.path_item(value) for path, value in _prefixed(item)}
        components = [
            (kind, renamer.name(kind, name), renamer.rewrite(c)) for kind, name, c in _components(item.document)
        ]
    except RecursionError:
        # Too deep to be walked although JSON could still be read; the others' documents are worth having.
        return
    for path, value in paths.items():
        merged["paths"].setdefault(path, value)
    for kind, name, component in components:
        merged["components"].setdefault(kind, {})[name] = component
    known = {tag.get("name") for tag in merged["tags"]}
    tags = item.document.get("tags")
    for tag in tags if isinstance(tags, list) else []:
        if isinstance(tag, dict) and isinstance(tag.get("name"), str) and tag["name"] not in known:
            merged["tags"].append(tag)


def _prefixed(item: PluginDocument) -> Iterator[tuple[str, Json]]:
    """Yield the document's paths as clients see them; it gives either all of them below its prefix or none."""
    paths = _mapping(item.document.get("paths"))
    prefix = item.prefix.rstrip("/")
    below = all(path == prefix or path.startswith(f"{prefix}/") for path in paths)
    for path, value in paths.items():
        if isinstance(value, dict):
            yield (path if below else f"{prefix}/{path.lstrip('/')}"), value


def _components(document: Json) -> Iterator[tuple[str, str, Any]]:
    for kind, group in _mapping(document.get("components")).items():
        for name, component in _mapping(group).items():
            yield kind, name, component


def _component_names(document: Json) -> list[tuple[str, str]]:
    return [(kind, name) for kind, name, _ in _components(document)]


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


class _Renamer:
    """Rewrites one plugin's document to the names it has in the merged one."""

    def __init__(self, item: PluginDocument, counts: Counter[tuple[str, str]]) -> None:
        self._plugin = item.plugin
        # Component names are limited to these characters, folder names are not.
        self._mark = re.sub(r"[^A-Za-z0-9._-]", "_", item.plugin)
        self._counts = counts
        self._security = item.document.get("security")

    def name(self, kind: str, name: str) -> str:
        return f"{self._mark}__{name}" if self._counts[kind, name] > 1 else name

    def path_item(self, item: Json) -> Json:
        rewritten: Json = self.rewrite(item)
        for method in _METHODS & rewritten.keys():
            if isinstance(rewritten[method], dict):
                rewritten[method] = self._operation(rewritten[method])
        return rewritten

    def _operation(self, operation: Json) -> Json:
        # What the document says for all its operations holds for this plugin's only.
        security = operation.get("security", self._security)
        return {
            **operation,
            "tags": operation.get("tags") or [self._plugin],
            **({"security": self._requirements(security)} if isinstance(security, list) else {}),
        }

    def _requirements(self, security: list[Any]) -> list[Json]:
        return [
            {self.name("securitySchemes", scheme): scopes for scheme, scopes in _mapping(requirement).items()}
            for requirement in security
        ]

    def rewrite(self, value: Any, *, names: bool = False) -> Any:
        """Copy a part of the document. ``names``: the keys of this mapping are names, not keywords."""
        if isinstance(value, list):
            return [self.rewrite(item) for item in value]
        if not isinstance(value, dict):
            return value
        if names:
            return {key: self.rewrite(item) for key, item in value.items()}
        return {key: self._keyword(key, item) for key, item in value.items()}

    def _keyword(self, key: str, value: Any) -> Any:
        if key in _DATA:
            return value
        if key == "$ref" and isinstance(value, str):
            return self._reference(value)
        if key == "operationId" and isinstance(value, str):
            return f"{self._mark}__{value}"
        if key == "mapping" and isinstance(value, dict):
            return {name: self._mapped(target) for name, target in value.items()}
        return self.rewrite(value, names=key in _NAMED)

    def _reference(self, reference: str) -> str:
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            return reference
        kind, name, rest = match.groups()
        return f"#/components/{kind}/{self.name(kind, name)}{rest}"

    def _mapped(self, target: Any) -> Any:
        """A discriminator names its schemas by reference or by their bare name."""
        if not isinstance(target, str):
            return target
        return self._reference(target) if target.startswith("#") else self.name("schemas", target)
