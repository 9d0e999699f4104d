"""The smallest ASGI client: one GET, as the link would hand it to an app."""

import json
from urllib.parse import unquote

from plugin_runtime.contracts.served import ServedApp
from plugin_runtime.framing import RequestHead
from plugin_runtime.http import Mounting, build_scope


async def get(served: ServedApp, path: str):
    """Status and decoded JSON body (or text) of the answer."""
    head = RequestHead(
        method="GET",
        scheme="http",
        raw_path=path.encode(),
        query=b"",
        http_version="1.1",
        headers=[(b"host", b"testserver")],
        client=("127.0.0.1", 1),
        server=("testserver", 80),
        state={},
    )
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = build_scope(head, Mounting(served.root_path, served.path_mode))
    assert scope["path"] == unquote(path) or served.path_mode == "stripped"
    await served.app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent).decode()
    try:
        return sent[0]["status"], json.loads(body)
    except ValueError:
        return sent[0]["status"], body
