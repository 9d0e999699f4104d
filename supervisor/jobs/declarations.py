"""Which jobs may be declared beside those that are, and which one somebody meant. Pure."""

from collections.abc import Collection, Mapping

from supervisor.errors import UnknownNameError
from supervisor.jobs.host import JobHost
from supervisor.jobs.launcher import Declared
from supervisor.schedule.job_spec import JobSpec
from supervisor.spelling import closest


def problem_of(spec: JobSpec, host: JobHost, accepted: Collection[str], known: Mapping[str, Declared]) -> str:
    """Why ``host`` cannot declare this job, in a sentence; "" where it can.

    ``accepted``: ids that it declares with it; ``known``: all that are declared, by id.
    """
    if spec.id in accepted:
        return f"cannot declare job {spec.id!r}: {spec.owner!r} declares two of this name; rename one"
    other = known.get(spec.id)
    if other is not None and not is_of(other, host):
        whose = f"{other.spec.kind.value} {other.spec.owner!r}"
        return f"cannot declare job {spec.id!r} of {spec.kind.value} {spec.owner!r}: it is {whose}'s; rename one"
    return ""


def is_of(declared: Declared, host: JobHost) -> bool:
    """A task and a plugin may have the same name; what becomes of the one is not the other's."""
    return declared.host.name == host.name and type(declared.host) is type(host)


def unknown_job(job: str, known: Mapping[str, Declared]) -> UnknownNameError:
    """Whoever has left out the owner is told the whole id."""
    by_name = {declared.spec.name: id_ for id_, declared in known.items()}
    close = closest(job, [*known, *by_name]) or ""
    return UnknownNameError("job", job, list(known), meant=by_name.get(close, close))
