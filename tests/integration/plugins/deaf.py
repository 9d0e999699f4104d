"""An ASGI app that can be told to stop, but neither by the protocol nor by SIGTERM."""

import os
import signal
import time


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
    body = b"%d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
