"""The admin interface with a supervisor that answers what a test wants."""

from gateway.admin import Backend
from gateway.catalogue import Catalogue
from gateway.identity import Tokens
from plugin_runtime.protocol import Health
from plugin_runtime.views import ExitView, InstanceView, PluginView, ProcessView, ResourceView, TokenView
from plugin_runtime.wire import to_wire
from tests.fakes.tokens import token_record

TOKENS = {role: f"token-of-{role}" for role in ("user", "admin", "root", "superadmin")}

EXIT = ExitView("e1", "hello", "hello.1", "worker", "signal", None, 9, "", 1.0, 2.0, ["last line"])
PLUGIN = PluginView(
    "hello", "Hello", "1.0", "me", "/hello", ["a"], 1, True, "running", "g1", 1,
    [InstanceView("hello.1", 42, "running", 1.0, 0, None, None, 0, 0)], EXIT,
)  # fmt: skip
TOKEN = TokenView("t1", "ci", "admin", 1.0, None)
ANSWERS = {
    "plugins.list": [PLUGIN],
    "plugins.show": PLUGIN,
    "plugins.restart": PLUGIN,
    "plugins.logs": ["one", "two"],
    "processes.list": [ProcessView("worker", "hello", "hello.1", 42, "running", 1.0, 0)],
    "resources.list": [ResourceView("worker", "hello", "hello.1", 42, 0.5, 1.0, 30.0, None, 3, 9, 5.0)],
    "exits.list": [EXIT],
    "tokens.list": [TOKEN],
    "tokens.create": {**to_wire(TOKEN), "token": "secret"},
    "tokens.revoke": None,
}


class FakeSupervisor:
    """Writes down every call; ``failure``, once set, is raised instead of answering."""

    def __init__(self):
        self.calls = []
        self.failure = None
        self.seen_health = Health("ok")
        tokens = Tokens()
        tokens.replace([token_record(token, role, name=f"the-{role}") for role, token in TOKENS.items()])
        self.backend = Backend(self.call, lambda: self.seen_health, tokens, Catalogue(), ("https://ui.example",), "1.2")

    async def call(self, operation, arguments, *, actor, timeout):
        self.calls.append((operation, arguments, actor, timeout))
        if self.failure is not None:
            raise self.failure
        return to_wire(ANSWERS[operation])
