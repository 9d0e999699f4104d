"""The application that is measured: a plugin by its router, and an application of its own by ``app``."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import StreamingResponse

PLUGIN_INFO = {
    "version": "1.0.0",
    "author": "The xcore developers",
    "Api_prefix": "/app/measured",
}
CHUNK = bytes(64 * 1024)

router = APIRouter(prefix="/app/measured")


@router.get("/hello/{name}")
async def greet(name: str, *, excited: bool = False) -> dict[str, str]:
    return {"message": f"Hello, {name}{'!' if excited else '.'}"}


@router.get("/download")
async def download(mib: int) -> StreamingResponse:
    size = mib * 1024 * 1024

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // len(CHUNK)):
            yield CHUNK

    return StreamingResponse(chunks(), headers={"content-length": str(size)}, media_type="application/octet-stream")


@router.post("/upload")
async def upload(request: Request) -> dict[str, int]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return {"received": size}


class Plugin:
    def run(self) -> None:
        """Part of the contract; nothing to do here."""


app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
app.include_router(router)
