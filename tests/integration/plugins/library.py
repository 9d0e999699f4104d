"""An ASGI app that tells what it sees of a request, and takes and gives large bodies."""

import json
import os
from urllib.parse import parse_qs

MIB = 2**20


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"].removeprefix(scope["root_path"])
    if path == "/stream":
        await stream(send, int(parse_qs(scope["query_string"].decode())["mib"][0]))
    elif path == "/sink":
        await answer(send, await size_of_body(receive))
    elif path == "/redirect":
        await answer(send, "elsewhere", 307, [(b"location", scope["root_path"].encode() + b"/see?from=redirect")])
    else:
        await answer(send, what_is_seen(scope))


def what_is_seen(scope):
    return {
        "pid": os.getpid(),
        "path": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "client": scope["client"],
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        **scope["state"]["xcore"],
    }


async def size_of_body(receive):
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return size


async def stream(send, mib):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(mib):
        await send({"type": "http.response.body", "body": b"d" * MIB, "more_body": True})
    await send({"type": "http.response.body"})


async def answer(send, value, status=200, fields=()):
    await send({"type": "http.response.start", "status": status, "headers": [*fields]})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})
