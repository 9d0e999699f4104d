"""Order, and what a new connection begins with."""

from plugin_runtime.outbox import Outbox
from plugin_runtime.protocol import Beat, Progress, Ready
from plugin_runtime.wire import Decoder


def taken(outbox: Outbox) -> list:
    frames = b""
    while (frame := outbox.first()) is not None:
        frames += frame
        outbox.remove_first()
    return [envelope.message for envelope in Decoder().feed(frames)]


def test_messages_leave_in_order():
    """Progress before ready: the supervisor's table knows no other order."""
    outbox = Outbox()
    outbox.put(Progress("import"))
    outbox.put(Ready(), standing=True)
    assert taken(outbox) == [Progress("import"), Ready()]
    assert outbox.is_empty


def test_standing_messages_begin_every_connection_once():
    """The last of each class, whether it had left before or not, and before what else waits."""
    outbox = Outbox()
    outbox.put(Ready("old"), standing=True)
    taken(outbox)
    outbox.put(Beat(0.0))
    outbox.put(Ready("new"), standing=True)
    outbox.begin_connection()
    assert taken(outbox) == [Ready("new"), Beat(0.0)]
    outbox.begin_connection()
    assert taken(outbox) == [Ready("new")]


def test_an_abandoned_outbox_keeps_nobody_waiting():
    """With nobody to send to, the end of the process must not wait for it."""
    outbox = Outbox()
    outbox.put(Beat(0.0))
    assert not outbox.wait_empty(0.0)
    outbox.abandon()
    assert outbox.wait_empty(0.0)


def test_an_answer_bears_the_id_of_its_question():
    """The asker tells answers apart by it."""
    outbox = Outbox()
    outbox.put(Beat(0.0), request_id=7)
    (envelope,) = Decoder().feed(outbox.first())
    assert envelope.id == 7
