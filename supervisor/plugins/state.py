"""What a plugin, and the whole system, looks like from outside. Pure."""

from collections.abc import Mapping, Sequence

from plugin_runtime.protocol import Health, PluginHealth, PluginState, State
from supervisor.supervision.child_record import SERVING

_SERVING_ORDER = (State.STARTING, State.PENDING, State.BACKOFF, State.STOPPING, State.DRAINING, State.FAILED)
"""Without a ready instance, the plugin shows the state that promises most."""

_TROUBLED = {PluginState.DEGRADED, PluginState.BACKOFF, PluginState.FAILED, PluginState.REFUSED}


def state_of_instances(states: Sequence[State], wanted: int) -> PluginState:
    """The state of a plugin that is allowed to run, from those of its instances."""
    ready = sum(state in SERVING for state in states)
    if ready and ready < wanted:
        return PluginState.DEGRADED
    if ready:
        return PluginState.STALLED if State.RUNNING not in states else PluginState.RUNNING
    for state in _SERVING_ORDER:
        if state in states:
            return PluginState(state.value)
    return PluginState.EXITED


def health_of(plugins: Mapping[str, PluginHealth], *, draining: bool, database_ok: bool) -> Health:
    """Body of /health: degraded as soon as one plugin that shall run is in trouble."""
    if draining:
        return Health("down", dict(plugins))
    troubled = any(PluginState(plugin.state) in _TROUBLED for plugin in plugins.values())
    return Health("degraded" if troubled or not database_ok else "ok", dict(plugins))
