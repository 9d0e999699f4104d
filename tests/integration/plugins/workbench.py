"""An ASGI app without a framework, with a path for everything that tests want a plugin to do."""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs

DATA = Path(os.environ["XCORE_DATA_DIR"])
CHUNK = bytes(range(256)) * 256
MIB = 1024 * 1024
PATIENCE = "import time; time.sleep(3600)"

print(f"imported by {os.getpid()}")


async def pid(query, receive):
    return os.getpid()


async def say(query, receive):
    print(query["text"])
    return "said"


async def slow(query, receive):
    (DATA / "slow").touch()
    await asyncio.sleep(float(query["seconds"]))
    return "slept"


async def held(query, receive):
    """Answer when the file ``go-on`` is there."""
    while not (DATA / "go-on").exists():
        await asyncio.sleep(0.01)
    return "released"


async def record(query, receive):
    """Note down that the request came, and never answer it."""
    with (DATA / "record").open("a") as file:
        file.write("came\n")
    await asyncio.Event().wait()


async def leave(query, receive):
    os._exit(int(query["code"]))


async def raise_error(query, receive):
    raise RuntimeError("as it was told to")


async def sink(query, receive):
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return size
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return size


async def grandchildren(query, receive):
    """Start one that stays in our group, and a daemon that left group, session and parents; return their pids."""
    child = subprocess.Popen([sys.executable, "-S", "-c", PATIENCE])
    script = (
        "import os, subprocess, sys\n"
        f"daemon = subprocess.Popen([sys.executable, '-S', '-c', {PATIENCE!r}], start_new_session=True,"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(daemon.pid, flush=True)\n"
    )
    daemon = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, check=True, text=True)
    return [child.pid, int(daemon.stdout)]


async def keep_sockets(query, receive):
    """Fork a process that leaves our session and keeps every socket of ours open; return its pid."""
    pid = os.fork()
    if not pid:
        os.setsid()
        signal.pause()
        os._exit(0)
    return pid


async def write(query, receive):
    """Write bytes, given in hex, to stdout, so many times."""
    left = bytes.fromhex(query["hex"]) * int(query.get("times", "1"))
    while left:
        left = left[os.write(1, left) :]
    return "written"


async def flood(query, receive):
    """Write lines to stdout as fast as they are taken, for so many seconds."""
    script = "import os, sys, time\nend = time.monotonic() + float(sys.argv[1])\nblock = b'flood ' * 10 + b'\\n'\n"
    script += "while time.monotonic() < end:\n    os.write(1, block * 1000)\n"
    process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", script, query["seconds"])
    await process.wait()
    return "flooded"


async def look_around(query, receive):
    """Return what a plugin can see of the house it is a guest in."""
    descriptors = {}
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            descriptors[descriptor.name] = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # that of the listing itself
    modules = ("supervisor", "gateway", "tests", "plugin_runtime", "xcore")
    return {
        "environment": dict(os.environ),
        "descriptors": descriptors,
        "path": sys.path,
        "importable": [name for name in modules if importlib.util.find_spec(name)],
    }


ROUTES = {
    "/pid": pid,
    "/say": say,
    "/slow": slow,
    "/held": held,
    "/record": record,
    "/leave": leave,
    "/raise": raise_error,
    "/sink": sink,
    "/grandchildren": grandchildren,
    "/keep-sockets": keep_sockets,
    "/write": write,
    "/flood": flood,
    "/look-around": look_around,
}


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"].removeprefix(scope["root_path"])
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    if path == "/half":
        await half(send)
    elif path == "/stream":
        await stream(send, int(query["mib"]))
    elif path in ROUTES:
        await answer(send, 200, await ROUTES[path](query, receive))
    else:
        await answer(send, 404, "no such path")


async def answer(send, status, value):
    body = json.dumps(value).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def half(send):
    """Begin a chunked answer and never end it."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the first half", "more_body": True})
    await asyncio.Event().wait()


async def stream(send, mebibytes):
    size = mebibytes * MIB
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    for _ in range(size // len(CHUNK)):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
