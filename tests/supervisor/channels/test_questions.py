"""Questions over a control channel: each answer to its question, and nobody waits for ever."""

import asyncio

import pytest

from plugin_runtime.protocol import Beat, Call, Error, Result
from plugin_runtime.task_protocol import ListThreads, ThreadFacts, Threads
from plugin_runtime.wire import Envelope
from supervisor.channels.questions import NoAnswerError, Questions
from tests.fakes.waiting import settle

ANSWER = Threads([ThreadFacts(1, "MainThread", alive=True, daemon=False)])
PATIENCE = 5.0
"""Seconds; only used up by a failing test."""


class Line:
    """One child's channel: what was sent, by the id of the question."""

    def __init__(self):
        self.questions = Questions()
        self.sent = {}

    def send(self, message, request_id):
        self.sent[request_id] = message

    def ask(self, question=None, timeout=PATIENCE):
        return asyncio.create_task(self.questions.ask(self.send, question or ListThreads(), timeout))

    def says(self, message, request_id):
        return self.questions.answer(Envelope(message, request_id))


@pytest.fixture
def run():
    """Run a scenario with a line."""

    def run(scenario):
        asyncio.run(scenario(Line()))

    return run


def test_an_answer_reaches_the_one_who_asked(run):
    """In whatever order they come; the ids tell them apart, and none of them is 0."""

    async def scenario(line):
        first, second = line.ask(), line.ask()
        await settle()
        assert list(line.sent.values()) == [ListThreads(), ListThreads()]
        one, two = line.sent
        assert (0 not in line.sent, one != two) == (True, True)
        assert line.says(ANSWER, two)
        assert line.says(Error("Busy", "not now"), one)
        assert (await first, await second) == (Error("Busy", "not now"), ANSWER)

    run(scenario)


@pytest.mark.parametrize("message", [Beat(0.0), Result("x"), ANSWER], ids=lambda message: type(message).__name__)
def test_what_answers_nothing_is_left_to_others(run, message):
    """Unasked for, or with an id that was never given out."""

    async def scenario(line):
        assert not line.says(message, 0)
        assert not line.says(message, 99)

    run(scenario)


def test_a_call_of_the_childs_is_no_answer_though_its_id_is_the_same(run):
    """Both ends count their own questions from 1."""

    async def scenario(line):
        asked = line.ask()
        await settle()
        (number,) = line.sent
        assert not line.says(Call("plugins.list", {}), number)
        await settle()
        assert not asked.done()
        assert line.says(ANSWER, number)
        assert await asked == ANSWER

    run(scenario)


def test_who_is_not_answered_in_time_is_told(run):
    """And an answer that comes afterwards is nobody's."""

    async def scenario(line):
        with pytest.raises(NoAnswerError, match=r"no answer to ListThreads within 0\.01 s"):
            await line.ask(timeout=0.01)
        (number,) = line.sent
        assert not line.says(ANSWER, number)

    run(scenario)


def test_a_second_answer_is_taken_and_changes_nothing(run):
    """Between the first one and the turn of who asked."""

    async def scenario(line):
        asked = line.ask()
        await settle()
        (number,) = line.sent
        assert line.says(ANSWER, number)
        assert line.says(Threads([]), number)
        assert await asked == ANSWER

    run(scenario)


def test_when_the_connection_closes_nobody_waits_on(run):
    """All of them, at once, and those that come later may be answered again."""

    async def scenario(line):
        asked = [line.ask(), line.ask()]
        await settle()
        line.questions.abandon()
        for question in asked:
            with pytest.raises(NoAnswerError, match="the connection closed"):
                await question
        line.questions.abandon()
        again = line.ask()
        await settle()
        assert line.says(ANSWER, max(line.sent))
        assert await again == ANSWER

    run(scenario)


def test_an_answer_that_came_before_the_end_counts(run):
    """Its last words."""

    async def scenario(line):
        asked = line.ask()
        await settle()
        (number,) = line.sent
        line.says(ANSWER, number)
        line.questions.abandon()
        assert await asked == ANSWER

    run(scenario)


def test_who_gives_up_leaves_nothing_behind(run):
    """An administrator who closed the page."""

    async def scenario(line):
        asked = line.ask()
        await settle()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        (number,) = line.sent
        assert not line.says(ANSWER, number)

    run(scenario)


def test_a_question_that_cannot_be_sent_is_not_waited_for(run):
    """The mistake is told as it is, and no id waits for ever."""

    async def scenario(line):
        def fails(_message, request_id):
            line.sent[request_id] = None
            raise ValueError("too large")

        with pytest.raises(ValueError, match="too large"):
            await line.questions.ask(fails, ListThreads(), PATIENCE)
        assert not line.says(ANSWER, max(line.sent))

    run(scenario)
