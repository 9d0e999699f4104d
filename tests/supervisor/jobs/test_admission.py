"""So many starts at a time, the longest waiting first."""

from supervisor.jobs.admission import Admission


def entered(limit, *numbers):
    """Some that wait since so many, under their names."""
    admission = Admission(limit)
    for number in numbers:
        admission.enter(f"run {number}", number, number)
    return admission


def test_no_more_start_than_there_are_places():
    admission = entered(2, 1, 2, 3)
    assert [admission.admit(), admission.admit()] == [1, 2]
    assert not admission.has_next
    admission.leave("run 1")
    assert admission.has_next
    assert admission.admit() == 3
    assert not admission.has_next


def test_who_waits_longest_goes_first():
    """In whatever order they came here: one may have waited elsewhere before."""
    admission = entered(1, 5, 2, 9)
    assert admission.waiting == [2, 5, 9]
    order = []
    while admission.has_next:
        order.append(admission.admit())
        admission.leave(f"run {order[-1]}")
    assert order == [2, 5, 9]


def test_who_gives_up_is_passed_over():
    admission = entered(1, 1, 2)
    admission.leave("run 1")
    assert admission.waiting == [2]
    assert admission.admit() == 2


def test_leaving_twice_frees_one_place():
    """Ready, and then its end."""
    admission = entered(1, 1, 2, 3)
    admission.admit()
    admission.leave("run 1")
    admission.admit()
    admission.leave("run 1")
    assert not admission.has_next
