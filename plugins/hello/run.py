"""The smallest plugin: what it is, a class with ``run``, and a router. It needs no packages of its own."""

from fastapi import APIRouter

PLUGIN_INFO = {
    "name": "Hello",
    "version": "1.0.0",
    "author": "The xcore developers",
    "Api_prefix": "/app/hello",
    "tag_for_identified": ["hello"],
}

router = APIRouter(prefix="/app/hello", tags=["hello"])


@router.get("/")
def greet(name: str = "world") -> dict[str, str]:
    return {"message": f"Hello, {name}!"}


class Plugin:
    def run(self) -> None:
        """Part of the contract; nothing to do here."""
