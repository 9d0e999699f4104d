"""Whether a request of a dead worker is sent again, cell by cell."""

from itertools import product

import pytest

from gateway.resending import Delivery, may_resend
from plugin_runtime.protocol import Cause, UpstreamDied
from supervisor.plugins.worker_links import NEVER_RESENT

GET, POST = True, False
NO_WORD = None


def word(cause, *, resend):
    return UpstreamDied("hello.1", "hello.1:1", cause, resend)


SIGNAL, HANG = word("signal", resend=True), word("hang", resend=False)


@pytest.mark.parametrize(
    ("idempotent", "accepted", "died", "expected"),
    [
        (GET, False, NO_WORD, True),
        (GET, True, NO_WORD, True),
        (POST, False, NO_WORD, True),
        (POST, True, NO_WORD, False),
        (GET, False, SIGNAL, True),
        (GET, True, SIGNAL, True),
        (POST, False, SIGNAL, True),
        (POST, True, SIGNAL, False),
        (GET, False, HANG, False),
        (GET, True, HANG, False),
        (POST, False, HANG, False),
        (POST, True, HANG, False),
    ],
)
def test_a_request_is_sent_again_if_twice_is_the_same_as_once(idempotent, accepted, died, expected):
    """Idempotent or never accepted, and not what its worker may have died of."""
    fresh = Delivery(idempotent, accepted, whole=True, answered=False, resent=False)
    assert may_resend(fresh, died) is expected


@pytest.mark.parametrize(
    ("idempotent", "accepted", "died"), list(product([GET, POST], [True, False], [NO_WORD, SIGNAL, HANG]))
)
@pytest.mark.parametrize(
    "obstacle", [{"whole": False}, {"answered": True}, {"resent": True}], ids=lambda obstacle: next(iter(obstacle))
)
def test_some_things_forbid_it_whatever_else_is(idempotent, accepted, died, obstacle):
    """A body that was not kept, a response that has begun, a second death under the same request."""
    fields = {"whole": True, "answered": False, "resent": False, **obstacle}
    assert not may_resend(Delivery(idempotent, accepted, **fields), died)


def test_the_deaths_that_a_request_may_have_caused_are_these():
    """The supervisor decides by the cause; the gateway follows its word."""
    assert {Cause.HANG, Cause.MEMORY_LIMIT, Cause.OUT_OF_MEMORY} == {Cause(cause) for cause in NEVER_RESENT}
