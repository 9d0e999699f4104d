"""Whether a request whose worker is lost may be sent to another one. Pure.

To be sent again must be the same as to be sent once, for the plugin and for the worker that is next: the request is
idempotent (RFC 9110, 9.2.2) or was never handed to the application, all of it is still here, nothing of a response has
gone to the client, and it is not what the worker may have died of. And once is enough: a second death under the same
request is more than chance.
"""

from dataclasses import dataclass

from plugin_runtime.protocol import UpstreamDied


@dataclass(frozen=True)
class Delivery:
    """How far a request had come when its worker was lost."""

    idempotent: bool
    accepted: bool
    """The worker was about to hand it to the application, or had done so."""
    whole: bool
    """Everything that came of its body is still here."""
    answered: bool
    """A part of the response has come."""
    resent: bool
    """This was its second worker."""


def may_resend(delivery: Delivery, word: UpstreamDied | None) -> bool:
    """``word``: the supervisor's on the death of the worker; None: it has not come."""
    if delivery.answered or delivery.resent or not delivery.whole:
        return False
    if word is not None and not word.resend:
        return False
    return delivery.idempotent or not delivery.accepted
