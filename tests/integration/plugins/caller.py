"""An ASGI app that calls other plugins as it is told to."""

import asyncio
import json
from collections import Counter
from urllib.parse import parse_qs

import httpx

import plugin_runtime

MIB = 2**20
PACE = 0.02
"""Seconds between two calls of a load."""

library = plugin_runtime.client("library")
anonymous = plugin_runtime.client("library", anonymous=True)
following = plugin_runtime.client("library", follow_redirects=True)
blocking = plugin_runtime.sync_client("library")

at_startup = []
load = {"answers": Counter(), "failures": [], "on": False}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path = scope["path"].removeprefix(scope["root_path"])
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    try:
        value = await DEEDS[path](query)
    except httpx.HTTPError as error:
        value = {"error": type(error).__name__, "message": str(error)}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def lifespan(receive, send):
    await receive()
    at_startup.append(asyncio.create_task(library.get("/see")))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def get(query):
    return seen(await library.get(query["path"]))


async def get_as_nobody(query):
    return seen(await anonymous.get(query["path"]))


async def get_in_thread(query):
    return seen(await asyncio.to_thread(blocking.get, query["path"]))


async def get_following(query):
    return seen(await following.get(query["path"]))


async def get_from(query):
    async with plugin_runtime.client(query["plugin"]) as client:
        return seen(await client.get(query["path"]))


async def get_with_fields(query):
    return seen(await library.get("/see", headers=json.loads(query["fields"])))


async def fields_of_own_request(query):
    return dict((await library.get("/see")).request.headers)


async def before_any_request(query):
    return seen(await at_startup[0])


async def upload(query):
    async def body():
        for _ in range(int(query["mib"])):
            yield b"u" * MIB

    return seen(await library.post("/sink", content=body()))


async def download(query):
    size = 0
    async with library.stream("GET", "/stream", params={"mib": query["mib"]}) as response:
        async for chunk in response.aiter_raw():
            assert chunk == b"d" * len(chunk)
            size += len(chunk)
    return size


async def begin_load(query):
    load["on"] = True
    load["tasks"] = [asyncio.create_task(call_on_and_on(call)) for call in (library.get, get_blocking)]


async def get_blocking(path):
    return await asyncio.to_thread(blocking.get, path)


async def call_on_and_on(call):
    calls = set()
    while load["on"]:
        calls.add(asyncio.create_task(count(call)))
        await asyncio.sleep(2 * PACE)
    await asyncio.gather(*calls)


async def count(call):
    try:
        load["answers"][str((await call("/see")).status_code)] += 1
    except httpx.HTTPError as error:
        load["failures"].append(repr(error))


async def look_at_load(query):
    return {"answers": load["answers"], "failures": load["failures"]}


async def end_load(query):
    load["on"] = False
    await asyncio.gather(*load["tasks"])
    return await look_at_load(query)


def seen(response):
    return {"status": response.status_code, "body": response.json(), "retry_after": response.headers.get("retry-after")}


DEEDS = {
    "/get": get,
    "/get-as-nobody": get_as_nobody,
    "/get-in-thread": get_in_thread,
    "/get-following": get_following,
    "/get-from": get_from,
    "/get-with-fields": get_with_fields,
    "/fields-of-own-request": fields_of_own_request,
    "/before-any-request": before_any_request,
    "/upload": upload,
    "/download": download,
    "/begin-load": begin_load,
    "/look-at-load": look_at_load,
    "/end-load": end_load,
}
