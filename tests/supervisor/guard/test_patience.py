"""When the guard may begin, on a clock that is moved by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.guard.patience import SUSPENDED, Patience, look

FREE, HELD = False, True

STORIES = {
    "free from the first look on": ([(0, FREE), (5, FREE), (9.9, FREE), (10, FREE)], 10),
    "not over a moment too early": ([(0, FREE), (4, FREE), (8, FREE), (9.99, FREE)], None),
    "held by a supervisor all the time": ([(t, HELD) for t in range(60)], None),
    "a supervisor that comes and dies": ([(0, FREE), (4, FREE), (8, HELD), (9, FREE), (13, FREE), (18, FREE)], None),
    "and nobody after that one": ([(0, FREE), (4, HELD), (8, FREE), (12, FREE), (16, FREE), (18, FREE)], 18),
    "suspended for an hour": ([(0, FREE), (2, FREE), (3602, FREE), (3606, FREE)], None),
    "and then ten seconds awake": ([(0, FREE), (3600, FREE), (3604, FREE), (3608, FREE), (3610, FREE)], 3610),
    "suspended while the lock was held": ([(0, HELD), (3600, FREE), (3604, FREE)], None),
}


def over_at(grace: float, looks: list[tuple[float, bool]]) -> float | None:
    """The first moment at which the grace was over."""
    patience = Patience(grace)
    for now, is_held in looks:
        patience, is_over = look(patience, is_held=is_held, now=now)
        if is_over:
            return now
    return None


@pytest.mark.parametrize("story", STORIES)
def test_the_grace_is_over_when_the_lock_was_free_for_all_of_it(story):
    """Somebody who holds it is a supervisor; somebody who did not look does not know."""
    looks, expected = STORIES[story]
    assert over_at(10, looks) == expected


def test_without_a_grace_nothing_is_waited_for():
    """``adopt_grace`` 0: nobody is to take over anything."""
    assert over_at(0, [(5, FREE)]) == 5
    assert over_at(0, [(5, HELD)]) is None


@given(
    st.lists(st.tuples(st.floats(0.01, 60), st.booleans()), max_size=40),
    st.floats(0, 30),
)
def test_it_is_never_over_before_it_was_seen_free_for_so_long(steps, grace):
    """Whatever happens: at the end stand looks at a free lock, none far from the next, over at least the grace."""
    now, looks = 0.0, []
    for step, is_held in steps:
        now += step
        looks.append((now, is_held))
    end = over_at(grace, looks)
    if end is None:
        return
    run: list[float] = []
    for at, is_held in looks:
        if at > end:
            break
        if is_held:
            run = []
        elif run and at - run[-1] > SUSPENDED:
            run = [at]
        else:
            run.append(at)
    assert run[-1] == end
    assert run[-1] - run[0] >= grace
