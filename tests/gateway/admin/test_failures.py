"""What goes wrong in the admin interface, and what of it is an error of ours."""

import asyncio
import logging

from fastapi import FastAPI

from gateway.admin.failures import install
from gateway.admin.json_body import JsonValue


def test_a_client_that_leaves_before_its_body_is_read_is_no_error_of_ours(caplog):
    """Tired of waiting for a gateway that was held up: no traceback, and nothing is done."""

    app, values = FastAPI(), []
    install(app)

    @app.post("/")
    async def take(value: JsonValue) -> None:
        values.append(value)

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    with caplog.at_level(logging.WARNING):
        asyncio.run(app(scope, receive, send))
    assert not values
    assert not caplog.records
