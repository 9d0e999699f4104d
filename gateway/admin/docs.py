"""/docs, /redoc and /openapi.json: the core and every plugin in one, without a byte from the internet."""

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from gateway.admin.backend import Backend

STATIC = "/docs/static"
TITLE = "xcore"
_OPENAPI = "/openapi.json"

router = APIRouter(include_in_schema=False)


def install(app: FastAPI) -> None:
    """Serve the pages and the scripts they load, which fastapi-offline carries with it."""
    app.include_router(router)
    app.mount(STATIC, StaticFiles(packages=[("fastapi_offline", "static")]), name="docs-static")


@router.get(_OPENAPI)
async def openapi(request: Request) -> Response:
    backend: Backend = request.app.state.backend
    document = await backend.catalogue.document(request.app.openapi())
    return Response(document, media_type="application/json")


@router.get("/docs")
async def swagger() -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url=_OPENAPI,
        title=TITLE,
        swagger_js_url=f"{STATIC}/swagger-ui-bundle.js",
        swagger_css_url=f"{STATIC}/swagger-ui.css",
        swagger_favicon_url=f"{STATIC}/favicon.png",
    )


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    return get_redoc_html(
        openapi_url=_OPENAPI,
        title=TITLE,
        redoc_js_url=f"{STATIC}/redoc.standalone.js",
        redoc_favicon_url=f"{STATIC}/favicon.png",
        with_google_fonts=False,
    )
