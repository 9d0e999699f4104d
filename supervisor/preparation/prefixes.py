"""Which part of the URL space belongs to which plugin, and which names plugins may have. Pure.

The rule for prefixes: a path that starts with ``/``; a slash at its end is dropped; its segments are not empty, not
``.`` and not ``..``, and hold only letters and digits of any script, and ``-._~!$&'()*+,;=:@``. Case matters. So
nothing in a prefix is ever encoded, decoded or resolved, and two are the same exactly when their texts are.
Prefixes may lie below each other (the longest wins) but are given out once; ``/`` takes what nobody else claims.
"""

import unicodedata
from collections.abc import Callable, Mapping
from types import MappingProxyType

from supervisor.errors import PluginRefusedError

RESERVED = ("/admin", "/auth", "/docs", "/health", "/metrics", "/openapi.json", "/redoc", "/tasks")
"""The gateway's own paths, with everything below them."""
RESERVED_NAMES = frozenset({"_base", "_plugins", "_tasks", "gateway", "guard", "supervisor"})
"""Names under which environments, logs, exits and processes of our own are kept, beside those of plugins."""
MAX_NAME_BYTES = 200
"""Of a plugin's name in UTF-8. File names end at 255 bytes, and ours are made of plugin names and a suffix."""

_MARKS = frozenset("-._~!$&'()*+,;=:@")  # RFC 3986, pchar without percent-encoding
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, format, surrogate; line and paragraph separators


def normalise_prefix(text: str) -> str:
    """The prefix that ``text`` stands for; ``/`` for the root.

    Raises ValueError with a message for people.
    """
    if not text:
        raise ValueError("cannot use an empty prefix: write a path such as '/shop'")
    if not text.startswith("/"):
        raise ValueError(f"cannot use prefix {text!r}: it must start with a slash: write {'/' + text!r}")
    prefix = text.removesuffix("/")
    for segment in prefix.split("/")[1:]:
        if problem := _segment_problem(segment):
            raise ValueError(f"cannot use prefix {text!r}: {problem}")
    return prefix or "/"


def is_below(path: str, prefix: str) -> bool:
    """Whether ``path`` is ``prefix`` or below it, by segments; neither ends with a slash."""
    return path == prefix or path.startswith(prefix + "/")


def check_plugin_name(name: str) -> None:
    """Raise PluginRefusedError for a folder that cannot be a plugin; any other name is taken literally.

    A name becomes part of paths, URLs, log lines and command arguments, and must look like what it is in all of them.
    """
    if problem := _name_problem(name):
        raise PluginRefusedError(name, problem, hint="rename its folder")


class Claims:
    """Who owns which prefix; nobody else changes that. Who waits for one is the caller's to know."""

    def __init__(self) -> None:
        self._prefixes: dict[str, str] = {}
        self._provisional: dict[str, Callable[[], None]] = {}

    @property
    def prefixes(self) -> Mapping[str, str]:
        """The prefix of each plugin."""
        return MappingProxyType(self._prefixes)

    def owner(self, prefix: str) -> str | None:
        """The plugin that claimed exactly this (normal) prefix."""
        return next((plugin for plugin, claimed in self._prefixes.items() if claimed == prefix), None)

    def claim(self, plugin: str, prefix: str) -> str:
        """Give ``prefix`` to ``plugin``, in place of the one it has, and return its normal form.

        Raises PluginRefusedError where it is not to be had; the plugin keeps what it has then.
        """
        wanted = self.check(plugin, prefix)
        before = self._other_owner(plugin, wanted)
        self._provisional.pop(plugin, None)
        self._prefixes[plugin] = wanted
        if before is not None:
            del self._prefixes[before]
            self._provisional.pop(before)()
        return wanted

    def claim_provisionally(self, plugin: str, prefix: str, lost: Callable[[], None]) -> str:
        """Give ``prefix`` to ``plugin`` until it claims one, or another one claims this; then ``lost`` is called.

        Raises PluginRefusedError where somebody has it already.
        """
        wanted = self.check(plugin, prefix)
        if (owner := self._other_owner(plugin, wanted)) is not None:
            raise _taken(plugin, wanted, owner)
        self._prefixes[plugin] = wanted
        self._provisional[plugin] = lost
        return wanted

    def check(self, plugin: str, prefix: str) -> str:
        """Return the normal form of ``prefix``, if ``plugin`` may have it.

        Raises PluginRefusedError.
        """
        wanted = _normalise_for(plugin, prefix)
        for reserved in RESERVED:
            if is_below(wanted, reserved):
                raise PluginRefusedError(
                    plugin, f"prefix {wanted!r} is reserved for xcore's own {reserved!r}", hint="choose another prefix"
                )
        owner = self._other_owner(plugin, wanted)
        if owner is not None and owner not in self._provisional:
            raise _taken(plugin, wanted, owner)
        return wanted

    def release(self, plugin: str) -> str | None:
        """Take back the prefix of ``plugin`` and return it, None where it has none."""
        self._provisional.pop(plugin, None)
        return self._prefixes.pop(plugin, None)

    def _other_owner(self, plugin: str, prefix: str) -> str | None:
        owner = self.owner(prefix)
        return None if owner == plugin else owner


def _taken(plugin: str, prefix: str, owner: str) -> PluginRefusedError:
    hint = "choose another prefix, or disable that plugin"
    return PluginRefusedError(plugin, f"prefix {prefix!r} belongs to plugin {owner!r}", hint=hint)


def _normalise_for(plugin: str, prefix: str) -> str:
    try:
        return normalise_prefix(prefix)
    except ValueError as error:
        raise PluginRefusedError(plugin, str(error), hint="set prefix in its [tool.xcore] or Api_prefix") from error


def _segment_problem(segment: str) -> str:
    """What is wrong with one segment of a prefix, or nothing."""
    if not segment:
        return "it has an empty segment ('//')"
    if segment in {".", ".."}:
        return f"{segment!r} is resolved by browsers before it is sent"
    if unicodedata.normalize("NFC", segment) != segment:
        return "it is not in Unicode normal form C, so that what people type would not match it"
    for character in segment:
        if character not in _MARKS and unicodedata.category(character)[0] not in "LMN":
            return f"{character!r} is not allowed in it: use letters, digits and {''.join(sorted(_MARKS))}"
    return ""


def _name_problem(name: str) -> str:
    """What is wrong with a plugin's name, or nothing."""
    if not name:
        return "its name is empty"
    if name in RESERVED_NAMES:
        return f"the name {name!r} is reserved for xcore's own"
    if name.startswith((".", "-", "__")):
        return f"its name starts with {'__' if name[0] == '_' else name[0]!r}"
    if any(character == "/" or unicodedata.category(character) in _INVISIBLE for character in name):
        return "its name holds a slash, a control character or something invisible"
    if ":" in name:
        return "its name holds a colon, by which tasks and jobs are told from plugins"
    if unicodedata.normalize("NFC", name) != name:
        return "its name is not in Unicode normal form C and looks like another name"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"its name is longer than {MAX_NAME_BYTES} bytes"
    return ""
