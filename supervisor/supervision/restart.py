"""When a dead child is started again, and how soon. Pure: time and chance are arguments."""

from dataclasses import dataclass

from plugin_runtime.protocol import Cause
from supervisor.spec import RestartPolicy, RestartWhen


@dataclass(frozen=True)
class Budget:
    """What a child has used up since it was started on purpose or last ran stably: ``Budget()`` is a full one."""

    deaths: tuple[float, ...] = ()
    """Moments of the crashes within the window, on the monotonic clock."""
    streak: int = 0
    """All of them, however long ago: the back-off grows with it."""
    exhausted: bool = False
    """Stays once it is set: what a failed child gets is single attempts, not another budget."""


def restarts_after(policy: RestartPolicy, cause: Cause) -> bool:
    """Whether the policy wants a child back that ended on its own by ``cause``."""
    match policy.when:
        case RestartWhen.ALWAYS:
            return True
        case RestartWhen.ON_FAILURE:
            return cause is not Cause.FINISHED
        case RestartWhen.NEVER:
            return False


def spend(budget: Budget, policy: RestartPolicy, now: float) -> Budget:
    """Account for a crash at ``now``."""
    deaths = (*(death for death in budget.deaths if now - death < policy.window), now)
    return Budget(deaths, budget.streak + 1, budget.exhausted or len(deaths) >= policy.limit)


def backoff_delay(policy: RestartPolicy, streak: int, random: float) -> float:
    """Seconds to wait after crash number ``streak`` since the start or a stable run; ``random`` in [0, 1).

    The first costs nothing: most crashes do not come back, and users wait. Jitter shortens, so that it still tells
    children apart whose delay has reached the cap.
    """
    if streak <= 1:
        return 0.0
    doublings = min(streak - 2, 64)  # a float overflows at 2 ** 1024
    return min(policy.max_delay, policy.delay * 2.0**doublings) * (1 - policy.jitter * random)
