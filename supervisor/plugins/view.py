"""How a plugin is shown: to people and programs as views, to gateways as a route. Reads, never changes anything."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from plugin_runtime.gateway_protocol import PluginTrouble
from plugin_runtime.protocol import Failed, PluginState, Route, State, Upstream
from plugin_runtime.views import ExitView, InstanceView, PluginError, PluginView, ProgressView, TrafficView
from supervisor.monitoring.sampler import Sample
from supervisor.plugins.worker_link import Link
from supervisor.preparation.preparation import Prepared
from supervisor.store.repository import PluginFacts, PluginRow
from supervisor.supervision.child import Child
from supervisor.supervision.child_record import SERVING
from supervisor.supervision.exits import advice, explain

RETRY_AFTER = 1.0
"""Seconds after which a caller may try a plugin again that is coming; a failed one is probed after minutes."""
RETRY_AFTER_FAILURE = 30.0


_MOST_LINES = 50
_LONGEST_LINE = 500
"""Characters, like the following; with all of it, what is told of one plugin stays below 100 KiB."""
_LONGEST_TEXT = 4000
_LONGEST_TRACEBACK = 20_000


class Shown(Protocol):
    """What is shown of a Plugin."""

    name: str
    active: bool
    record: PluginRow | None

    @property
    def prepared(self) -> Prepared | None: ...

    @property
    def instances(self) -> list[Child]: ...

    @property
    def error(self) -> PluginError | None: ...

    @property
    def notes(self) -> list[str]: ...

    @property
    def template(self) -> str: ...

    @property
    def is_outdated(self) -> bool: ...

    @property
    def progress(self) -> ProgressView | None: ...

    @property
    def last_exit(self) -> ExitView | None: ...

    @property
    def prefix(self) -> str: ...

    @property
    def state(self) -> PluginState: ...

    @property
    def wanted(self) -> int: ...


def route_of(
    plugin: str,
    prefix: str,
    workers: Sequence[tuple[Child, Link]],
    *,
    state: PluginState,
    expected: bool,
    error: str,
    request_timeout: float,
    max_in_flight: int,
) -> Route:
    """The route of a plugin: its ready workers as upstreams, stalled ones marked."""
    return Route(
        plugin=plugin,
        prefix=prefix,
        upstreams=[
            Upstream(child.spec.id, link.incarnation, link.path, link.secret, stalled=child.state is State.STALLED)
            for child, link in workers
            if child.state in SERVING
        ],
        expected=expected,
        state=state.value,
        error=error,
        retry_after=RETRY_AFTER if expected else RETRY_AFTER_FAILURE,
        request_timeout=request_timeout,
        max_in_flight=max_in_flight,
    )


def instance_view(child: Child, sample: Sample | None) -> InstanceView:
    beat = child.incarnation.beat if child.incarnation else None
    return InstanceView(
        id=child.spec.id,
        pid=child.pid,
        state=child.state.value,
        uptime=round(child.uptime, 3),
        restarts=child.record.restarts,
        cpu_percent=_rounded(sample.cpu_percent) if sample and child.pid else None,
        memory_mb=_rounded(sample.memory_mb) if sample and child.pid else None,
        in_flight=beat.in_flight if beat else 0,
        requests=beat.requests if beat else 0,
    )


def plugin_view(
    plugin: Shown, latest: Callable[[Child], Sample | None], traffic: TrafficView, build_log: Path | None = None
) -> PluginView:
    """As the admin interface shows it.

    ``latest``: the last sample of a child's process; ``build_log``: of the newest build of its environment.
    """
    manifest = plugin.prepared.build.manifest if plugin.prepared else None
    found = plugin.prepared.description if plugin.prepared else None
    facts = facts_of(plugin.name, plugin.prefix, plugin.prepared) if plugin.prepared else plugin.record
    return PluginView(
        name=plugin.name,
        title=(found.title if found else "") or (manifest.title if manifest else "") or plugin.name,
        version=facts.version if facts else "",
        author=facts.author if facts else "",
        prefix=plugin.prefix,
        tags=facts.tag_for_identified if facts else [],
        trigger=facts.trigger if facts else 1,
        active=plugin.active,
        state=plugin.state.value,
        generation=plugin.prepared.build.generation.hash if plugin.prepared else "",
        wanted=plugin.wanted,
        instances=[instance_view(child, latest(child)) for child in plugin.instances],
        last_exit=plugin.last_exit,
        error=plugin.error,
        traffic=traffic,
        notes=plugin.notes,
        template=plugin.template,
        outdated=plugin.is_outdated,
        progress=plugin.progress,
        build_log=str(build_log or ""),
    )


def facts_of(name: str, prefix: str, prepared: Prepared) -> PluginFacts:
    """What is stored of a plugin: what its code says of itself, else its manifest."""
    found, manifest = prepared.description, prepared.build.manifest
    return PluginFacts(
        name=name,
        version=found.version or manifest.version,
        author=found.author or manifest.author,
        api_prefix=prefix,
        tag_for_identified=found.tags,
        trigger=found.trigger,
    )


def trouble_of(plugin: str, error: PluginError | None, progress: Iterable[str]) -> PluginTrouble:
    """What gateways are told in development mode: all that an author needs, and never more than fits into one page."""
    lines = [line[:_LONGEST_LINE] for line in progress]
    if error is None:
        return PluginTrouble(plugin, progress=lines)
    return PluginTrouble(
        plugin=plugin,
        phase=error.phase,
        type=error.type,
        message=error.message[:_LONGEST_TEXT],
        hint=error.hint[:_LONGEST_TEXT],
        location=error.location[:_LONGEST_LINE],
        excerpt=error.excerpt,
        problems=[problem[:_LONGEST_LINE] for problem in error.problems[:_MOST_LINES]],
        traceback=error.traceback[-_LONGEST_TRACEBACK:],
        log_tail=[line[:_LONGEST_LINE] for line in error.log_tail[-_MOST_LINES:]],
        progress=lines,
    )


def error_of_failure(failure: Failed, record: ExitView) -> PluginError:
    """Why a worker could not start: its own words, and the last lines it printed."""
    return PluginError(
        failure.phase,
        failure.type,
        failure.message,
        hint=failure.hint,
        location=failure.location,
        excerpt=failure.excerpt,
        traceback=failure.traceback,
        log_tail=record.log_tail,
    )


def error_of_exit(record: ExitView, phase: str) -> PluginError:
    """Why a worker does not serve that had no words for it: it crashed, or was not ready in time.

    ``phase``: how far it had come.
    """
    hint = advice(record)
    stacks = record.stacks or ""
    return PluginError(phase, record.cause, explain(record), hint=hint, traceback=stacks, log_tail=record.log_tail)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
