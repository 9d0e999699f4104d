"""A supervisor as the CLI sees it: a real command socket, answered from a table, in a thread of its own."""

import asyncio
import threading

from plugin_runtime.protocol import Result
from supervisor.channels.command import CommandServer


class SupervisorThread:
    """``answers``: a Result's value, or a whole Result or Error, by operation; ``calls`` keeps what was asked."""

    def __init__(self, path):
        self._path = path
        self.answers = {}
        self.calls = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self):
        self._thread.start()
        self._server = CommandServer(
            self._path, self._perform, is_ours=lambda _pid: False
        )  # commands are children of the test
        self._run(self._server.start())
        return self

    def __exit__(self, *_):
        self._run(self._server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def arguments_of(self, operation):
        return next(call.arguments for call in self.calls if call.operation == operation)

    async def _perform(self, call):
        self.calls.append(call)
        answer = self.answers[call.operation]
        if asyncio.iscoroutinefunction(answer):
            return await answer(call)
        return Result(answer) if isinstance(answer, (type(None), str, list, dict)) else answer

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
