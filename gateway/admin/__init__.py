"""The gateway's own HTTP interface: everything that is not a plugin's."""

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from gateway.admin import docs, exits, failures, health, jobs, plugins, processes, tasks, tokens
from gateway.admin.backend import Backend

__all__ = ["Backend", "create_admin"]


def create_admin(backend: Backend) -> FastAPI:
    """Return the application."""
    app = FastAPI(
        title=docs.TITLE,
        version=backend.version or "0",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A redirect would be built from the client's Host, and make two paths of one.
        redirect_slashes=False,
    )
    app.state.backend = backend
    failures.install(app)
    for module in (plugins, tasks, jobs, processes, exits, tokens, health):
        app.include_router(module.router)
    docs.install(app)
    if backend.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=backend.cors_origins,
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return app
