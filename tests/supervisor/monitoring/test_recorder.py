"""Observations before and after there is a database."""

from types import SimpleNamespace

from supervisor.monitoring.recorder import Recorder


def test_what_was_seen_before_the_database_was_opened_is_put_on_record_then():
    """In order; and whatever comes later at once."""
    rows = []
    store = SimpleNamespace(observations=SimpleNamespace(put=rows.append))
    recorder = Recorder()
    recorder.put("first")
    recorder.put_all(["second", "third"])
    assert (rows, recorder.is_in_use) == ([], False)
    recorder.use(store)
    recorder.put("fourth")
    assert (rows, recorder.is_in_use) == (["first", "second", "third", "fourth"], True)
