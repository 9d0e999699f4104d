"""A notice board. Links are made with ``url_for``, which knows the prefix from the scope's ``root_path``."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

HERE = Path(__file__).parent
DATABASE = Path(os.environ.get("XCORE_DATA_DIR", HERE)) / "board.db"

MOST_CHARACTERS = 500
MOST_NOTICES = 1000

templates = Jinja2Templates(HERE / "templates")


def connect() -> sqlite3.Connection:
    connection = sqlite3.connect(DATABASE)
    connection.execute("CREATE TABLE IF NOT EXISTS notices (id INTEGER PRIMARY KEY, author TEXT, text TEXT)")
    return connection


def read_notices() -> list[tuple[str, str]]:
    with closing(connect()) as connection:
        return connection.execute("SELECT author, text FROM notices ORDER BY id DESC LIMIT 50").fetchall()


def write_notice(author: str, text: str) -> None:
    with closing(connect()) as connection, connection:
        connection.execute("INSERT INTO notices (author, text) VALUES (?, ?)", (author, text))


def forget_old_notices() -> None:
    """Run once a day, see ``[[tool.xcore.jobs]]`` in pyproject.toml."""
    with closing(connect()) as connection, connection:
        done = connection.execute(
            "DELETE FROM notices WHERE id NOT IN (SELECT id FROM notices ORDER BY id DESC LIMIT ?)", (MOST_NOTICES,)
        )
    print(f"{done.rowcount} old notices are gone")  # noqa: T201 - what a run prints is kept with it


async def page(request: Request) -> Response:
    notices = await run_in_threadpool(read_notices)
    return templates.TemplateResponse(request, "board.html", {"notices": notices, "longest": MOST_CHARACTERS})


async def post(request: Request) -> Response:
    form = await request.form()
    author = str(form.get("author", "")).strip() or "somebody"
    text = str(form.get("text", "")).strip()
    if text:
        await run_in_threadpool(write_notice, author[:MOST_CHARACTERS], text[:MOST_CHARACTERS])
    return RedirectResponse(request.url_for("page"), status_code=303)


app = Starlette(
    routes=[
        Route("/", page, name="page"),
        Route("/notices", post, name="post", methods=["POST"]),
        Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
    ]
)
