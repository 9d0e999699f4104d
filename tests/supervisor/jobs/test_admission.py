"""So many starts at a time, the longest waiting first."""

from supervisor.jobs.admission import Admission
from tests.fakes.jobs import request


def test_no_more_start_than_there_are_places():
    admission = Admission(2)
    for number in (1, 2, 3):
        admission.enter(request(number))

    assert [admission.admit().number, admission.admit().number] == [1, 2]
    assert not admission.has_next
    admission.leave(request(1).id)
    assert admission.has_next
    assert admission.admit().number == 3
    assert not admission.has_next


def test_who_was_asked_for_first_goes_first():
    """Also when it had to wait for another run before it could wait here."""
    admission = Admission(1)
    for number in (5, 2, 9):
        admission.enter(request(number))
    order = []
    while admission.has_next:
        order.append(admission.admit())
        admission.leave(order[-1].id)
    assert [asked.number for asked in order] == [2, 5, 9]


def test_who_gives_up_is_passed_over():
    admission = Admission(1)
    for number in (1, 2):
        admission.enter(request(number))
    admission.leave(request(1).id)
    assert [asked.number for asked in admission.waiting] == [2]
    assert admission.admit().number == 2


def test_leaving_twice_frees_one_place():
    """Ready, and then its end."""
    admission = Admission(1)
    for number in (1, 2, 3):
        admission.enter(request(number))
    first = admission.admit()
    admission.leave(first.id)
    admission.admit()
    admission.leave(first.id)
    assert not admission.has_next
