"""Which known word is suggested for an unknown one."""

import pytest

from supervisor.spelling import closest, nearest, nearest_or_all


@pytest.mark.parametrize(
    ("word", "close"), [("hours", "hour"), ("Minute", "minute"), ("SECNOD", "second"), ("zzz", None), ("", None)]
)
def test_the_closest_word_is_found_in_any_case(word, close):
    """Typing errors and the wrong case are the same kind of mistake."""
    assert closest(word, ["hour", "minute", "second"]) == close


def test_a_hint_names_one_word_or_all_or_nothing():
    """Hundreds of time zones help nobody; a dozen keys do."""
    assert nearest("hours", ["hour"]) == nearest_or_all("hours", ["hour"]) == "did you mean 'hour'?"
    assert nearest("zzz", ["b", "a"]) == ""
    assert nearest_or_all("zzz", ["b", "a"]) == "known: a, b"
