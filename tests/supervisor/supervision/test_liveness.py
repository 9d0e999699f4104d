"""The table of loop beat, watchdog thread and CPU, second by second on a clock that stands still."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.spec import LivenessPolicy
from supervisor.supervision.liveness import LivenessState, Verdict, check, observe_beat

POLICY = LivenessPolicy(stalled=10.0, hung=30.0, hang_cpu_limit=120.0)
BUSY = 1.0
"""CPU seconds per second of a process that computes."""


@dataclass
class Watch:
    """A process watched once a second."""

    policy: LivenessPolicy = POLICY
    now: float = 5000.0
    cpu: float | None = 3.0
    state: LivenessState = field(default_factory=LivenessState)
    turned_at: float = 5000.0
    verdict: Verdict = Verdict.FINE

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> Verdict:
        self.state, self.verdict = check(self.state, self.policy, self.now, self.cpu)
        return self.verdict

    def second(self, *, thread: bool, loop: bool, cpu: float = 0.0) -> Verdict:
        """One second in which the watchdog thread and the loop ran or did not."""
        self.now += 1
        if self.cpu is not None:
            self.cpu += cpu
        if loop:
            self.turned_at = self.now
        if thread:
            self.state = observe_beat(self.state, self.now - self.turned_at, self.now)
        return self.check()

    def seconds(self, count: int, **kwargs) -> list[Verdict]:
        return [self.second(**kwargs) for _ in range(count)]


def first(verdicts: list[Verdict], verdict: Verdict) -> int:
    """After how many seconds ``verdict`` was given first."""
    return verdicts.index(verdict) + 1


@pytest.mark.parametrize("cpu", [0.0, BUSY])
def test_a_turning_loop_is_fine_however_long_requests_take(cpu):
    """Row 1: a loop that turns is alive, whatever else."""
    assert set(Watch().seconds(300, thread=True, loop=True, cpu=cpu)) == {Verdict.FINE}


@pytest.mark.parametrize("cpu", [0.0, BUSY])
def test_a_silent_loop_under_a_thread_that_answers_stalls_and_hangs(cpu):
    """Row 2: time.sleep or a pure-Python loop in the event loop, whatever CPU it takes."""
    verdicts = Watch().seconds(40, thread=True, loop=False, cpu=cpu)
    assert (first(verdicts, Verdict.STALLED), first(verdicts, Verdict.HUNG)) == (10, 30)
    assert Verdict.BUSY not in verdicts


def test_a_silent_thread_at_work_is_busy_up_to_its_limit():
    """Row 3: an import or C code that holds the GIL."""
    verdicts = Watch().seconds(130, thread=False, loop=False, cpu=BUSY)
    assert (first(verdicts, Verdict.BUSY), first(verdicts, Verdict.HUNG)) == (10, 120)
    assert Verdict.STALLED not in verdicts


def test_a_silent_thread_without_work_stalls_and_hangs():
    """Row 4: stopped by SIGSTOP, or a deadlock that holds the GIL."""
    verdicts = Watch().seconds(40, thread=False, loop=False)
    assert (first(verdicts, Verdict.STALLED), first(verdicts, Verdict.HUNG)) == (10, 30)


def test_the_limit_of_work_is_for_those_at_work():
    """A hang_cpu_limit below hung shortens the patience with busy processes only."""
    policy = replace(POLICY, hang_cpu_limit=20.0)
    assert first(Watch(policy=policy).seconds(40, thread=False, loop=False), Verdict.HUNG) == 30
    assert first(Watch(policy=policy).seconds(40, thread=False, loop=False, cpu=BUSY), Verdict.HUNG) == 20


def test_a_process_that_cannot_be_measured_counts_as_doing_nothing():
    """psutil races: no number is no proof of work."""
    verdicts = Watch(cpu=None).seconds(40, thread=False, loop=False)
    assert first(verdicts, Verdict.HUNG) == 30


def test_the_noise_of_a_waiting_process_is_no_work():
    """A few milliseconds a second are timers, not an import."""
    verdicts = Watch().seconds(40, thread=False, loop=False, cpu=0.02)
    assert first(verdicts, Verdict.HUNG) == 30


def test_continued_in_time_means_no_restart():
    """Reliability 6: SIGCONT before hung; the thread answers first, the loop a moment later."""
    watch = Watch()
    assert watch.seconds(28, thread=False, loop=False)[-1] is Verdict.STALLED
    assert watch.second(thread=True, loop=False) is Verdict.STALLED
    assert watch.second(thread=True, loop=True) is Verdict.FINE


def test_the_first_sign_of_life_after_busy_time_is_not_taken_for_a_hang():
    """After a minute of C code the thread wakes first and reports a loop age of a minute."""
    watch = Watch()
    assert watch.seconds(60, thread=False, loop=False, cpu=BUSY)[-1] is Verdict.BUSY
    assert watch.second(thread=True, loop=False) is Verdict.BUSY
    assert watch.second(thread=True, loop=True) is Verdict.FINE


def test_a_loop_that_does_not_come_back_after_busy_time_hangs():
    """The clock starts anew after the work, once."""
    watch = Watch()
    watch.seconds(60, thread=False, loop=False, cpu=BUSY)
    verdicts = watch.seconds(40, thread=True, loop=False)
    assert (first(verdicts, Verdict.STALLED), first(verdicts, Verdict.HUNG)) == (10, 30)


def test_work_of_the_past_excuses_no_silence_of_today():
    """Once the loop turned, what was before is forgotten."""
    watch = Watch()
    watch.seconds(60, thread=False, loop=False, cpu=BUSY)
    watch.second(thread=True, loop=True)
    assert watch.state.worked_at is None
    assert first(watch.seconds(40, thread=True, loop=False), Verdict.HUNG) == 30


def test_two_late_beats_are_a_loaded_machine():
    """No clock of the child's loop runs before three seconds without a beat."""
    watch = Watch(policy=replace(POLICY, stalled=0.5, hung=2.0))
    assert watch.seconds(3, thread=False, loop=False) == [Verdict.FINE] * 3


@pytest.mark.parametrize("gap", [6.0, 30.0, 86_400.0])
def test_a_suspended_supervisor_starts_the_clocks_anew(gap):
    """Reliability 36: SIGSTOPped for 30 s, it must not kill everybody when it wakes."""
    watch = Watch()
    watch.seconds(25, thread=False, loop=False)
    watch.now += gap
    assert watch.check() is Verdict.FINE
    assert first(watch.seconds(40, thread=False, loop=False), Verdict.HUNG) == 30


def test_a_check_that_is_only_late_starts_nothing_anew():
    """Else a loaded supervisor would never find a hang."""
    watch = Watch()
    watch.seconds(25, thread=False, loop=False)
    watch.now += 4
    assert watch.check() is Verdict.STALLED
    assert watch.second(thread=False, loop=False) is Verdict.HUNG


def test_beats_from_before_the_first_check_start_no_clock():
    """Import may block the loop for as long as start_timeout allows; the clocks start when the child is ready."""
    early = observe_beat(LivenessState(), 55.0, 5000.0)
    state, verdict = check(early, POLICY, 5000.5, 1.0)
    assert verdict is Verdict.FINE
    assert check(state, POLICY, 5001.5, 1.0)[1] is Verdict.FINE


@pytest.mark.parametrize("loop_age", [-1e9, float("nan")])
def test_a_nonsensical_loop_age_is_none(loop_age):
    """The number comes from a process that plugins share."""
    assert observe_beat(LivenessState(), loop_age, 5000.0).loop_age == 0.0


SECOND = st.tuples(st.booleans(), st.booleans(), st.sampled_from([0.0, BUSY]))


def run(seconds: list[tuple[bool, bool, float]], judge: Callable[[Watch, Verdict], None]) -> None:
    watch = Watch()
    for thread, loop, cpu in seconds:
        judge(watch, watch.second(thread=thread, loop=loop and thread, cpu=cpu))


@given(st.lists(SECOND, max_size=200))
def test_nobody_is_hung_before_the_hung_time(seconds):
    """Whatever the mixture: never killed early."""

    def judge(watch: Watch, verdict: Verdict) -> None:
        if verdict is Verdict.HUNG:
            assert watch.now - watch.turned_at >= POLICY.hung

    run(seconds, judge)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(SECOND.map(lambda second: (second[0], False, second[2])), min_size=140, max_size=160))
def test_a_loop_that_never_turns_again_is_hung_in_the_end(seconds):
    """Whatever excuse of work there is: hang_cpu_limit is the last word (and what a late beat adds to it)."""
    verdicts: list[Verdict] = []
    run(seconds, lambda _, verdict: verdicts.append(verdict))
    assert Verdict.HUNG in verdicts[: int(POLICY.hang_cpu_limit) + 4]
