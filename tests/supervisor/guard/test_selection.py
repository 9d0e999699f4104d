"""Who is ours, on process tables made by hand and by chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.guard.selection import Exempt, Identity, Seen, left_behind, ours

MARK, ANOTHER = "ours", "another's"
EXEMPT = Exempt(pids={1, 50, 40}, sessions={50}, shared_sessions={10})
"""Init, the guard (50) and its parent (40); the guard's session; that of the shell which started the supervisor."""


def seen(pid, *, parent=1, session=None, mark=None, zombie=False, ticks=None):
    identity = Identity(pid, pid * 10 if ticks is None else ticks)
    return Seen(identity, f"p{pid}", parent, pid if session is None else session, mark, zombie)


def table(*processes):
    return {process.identity.pid: process for process in processes}


def pids(processes, known=(), exempt=EXEMPT):
    known = {Identity(pid, pid * 10) for pid in known}
    return {identity.pid for identity in ours(table(*processes), known, MARK, exempt)}


CASES = {
    "the marked": ([seen(100, mark=MARK), seen(200)], (), {100}),
    "the recorded": ([seen(100), seen(200)], (100,), {100}),
    "another process with the pid of a recorded one": ([seen(100, ticks=7)], (100,), set()),
    "a recorded one that is gone": ([seen(200)], (100,), set()),
    "descendants, however deep": (
        [seen(100, mark=MARK), seen(101, parent=100), seen(102, parent=101), seen(103, parent=102, session=100)],
        (),
        {100, 101, 102, 103},
    ),
    "members of the session of one of ours": (
        [seen(100, mark=MARK), seen(101, session=100), seen(102, parent=101)],
        (),
        {100, 101, 102},
    ),
    "members of a session whose leader is gone": (
        [seen(101, session=100, mark=MARK), seen(102, session=100)],
        (),
        {101, 102},
    ),
    "members of a session whose leader is a zombie": (
        [seen(100, zombie=True), seen(101, session=100, mark=MARK), seen(102, session=100)],
        (),
        {100, 101, 102},
    ),
    "but not those of a session whose leader is a stranger": (
        [seen(100), seen(101, session=100, mark=MARK), seen(102, session=100)],
        (),
        {101},
    ),
    "nor those of the session that the supervisor was started in": (
        [seen(11, session=10, mark=MARK), seen(12, session=10), seen(13, parent=11, session=10)],
        (),
        {11, 13},
    ),
    "a grandchild that left everything, once it was seen": ([seen(104)], (104,), {104}),
    "nobody with another mark": ([seen(100, mark=MARK), seen(101, parent=100, mark=ANOTHER)], (), {100}),
    "nor what that one has started": (
        [seen(100, mark=MARK), seen(101, parent=100, mark=ANOTHER), seen(102, parent=101, mark=ANOTHER)],
        (),
        {100},
    ),
    "nobody with another mark, even if on record": ([seen(100, mark=ANOTHER)], (100,), set()),
    "not the guard, its parent or init": (
        [seen(50, mark=MARK, parent=40), seen(40, mark=MARK), seen(1, parent=0, mark=MARK)],
        (50, 40, 1),
        set(),
    ),
    "nobody in the guard's session": ([seen(51, session=50, mark=MARK)], (51,), set()),
    "not the other children of a stranger": (
        [seen(100, mark=MARK, parent=30), seen(31, parent=30), seen(30)],
        (),
        {100},
    ),
    "a zombie, and what it has left": (
        [seen(100, zombie=True), seen(101, parent=1, session=100)],
        (100,),
        {100, 101},
    ),
    "a loop of parents ends": ([seen(100, parent=101, mark=MARK), seen(101, parent=100)], (), {100, 101}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_ours_are(case):
    """Recorded, marked, descended from these, or in a session of theirs; nobody else, whoever asks."""
    processes, known, expected = CASES[case]
    assert pids(processes, known) == expected


@st.composite
def tables(draw):
    """Processes that are each others' parents and leaders as chance will have it."""
    numbers = draw(st.lists(st.integers(1, 40), unique=True, min_size=1, max_size=25))
    pid = st.sampled_from([0, *numbers])
    processes = [
        Seen(
            Identity(number, draw(st.integers(1, 2))),
            "p",
            draw(pid),
            draw(st.one_of(st.just(number), pid)),
            draw(st.sampled_from([None, None, MARK, ANOTHER])),
            draw(st.booleans()),
        )
        for number in numbers
    ]
    known = draw(st.sets(st.builds(Identity, st.integers(1, 40), st.integers(1, 2)), max_size=5))
    some = st.frozensets(st.sampled_from(numbers), max_size=3)
    return table(*processes), known, Exempt(draw(some), draw(some), draw(some))


@given(tables())
def test_whatever_the_table_nobody_exempt_is_chosen_and_everybody_has_a_reason(drawn):
    """What is chosen is ours by itself, or the child or session mate of somebody chosen."""
    processes, known, exempt = drawn
    chosen = ours(processes, known, MARK, exempt)
    members = {identity.pid for identity in chosen}
    for identity in chosen:
        process = processes[identity.pid]
        assert process.identity == identity
        assert identity.pid not in exempt.pids
        assert process.session not in exempt.sessions
        assert process.mark in {None, MARK}
        mates = {pid for pid in members - {identity.pid} if processes[pid].session == process.session}
        by_session = bool(mates) and process.session not in exempt.shared_sessions
        assert process.mark == MARK or identity in known or process.parent in members or by_session


@given(tables())
def test_nothing_of_ours_is_forgotten_and_a_second_look_finds_no_more(drawn):
    """Marked and known processes are chosen unless they are exempt; the choice is complete at once."""
    processes, known, exempt = drawn
    chosen = ours(processes, known, MARK, exempt)
    for process in processes.values():
        is_exempt = process.identity.pid in exempt.pids or process.session in exempt.sessions or process.mark == ANOTHER
        if not is_exempt and (process.mark == MARK or process.identity in known):
            assert process.identity in chosen
    assert ours(processes, known | chosen, MARK, exempt) == chosen


LEFT = {
    "a daemon with our mark": ([seen(100), seen(300, mark=MARK)], {300}),
    "not what descends from one that lives": ([seen(100, mark=MARK), seen(101, parent=100, mark=MARK)], set()),
    "nor who is in its session": ([seen(100, mark=MARK), seen(101, session=100, mark=MARK)], set()),
    "nor what that one has started": (
        [seen(100, mark=MARK), seen(101, parent=100), seen(102, parent=101, mark=MARK)],
        set(),
    ),
    "nobody without a mark, or with another": ([seen(100), seen(300), seen(301, mark=ANOTHER)], set()),
    "nobody who is dead": ([seen(100), seen(300, mark=MARK, zombie=True)], set()),
    "nobody who began a moment ago": ([seen(100), seen(300, mark=MARK, ticks=10_000)], set()),
}


@pytest.mark.parametrize(("processes", "expected"), LEFT.values(), ids=LEFT)
def test_what_belongs_to_no_living_process_was_left_behind(processes, expected):
    """One (100) lives; what bears our mark and is not its own has nobody who is responsible for it."""
    found = left_behind(table(*processes), {100}, MARK, before=5_000)
    assert {process.identity.pid for process in found} == expected
