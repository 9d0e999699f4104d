"""/health: open to everyone, for load balancers and people in a hurry."""

import dataclasses
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.admin.backend import Backend
from gateway.admin.models import HealthView

router = APIRouter(tags=["health"])

DOWN = "down"


@router.head("/health", include_in_schema=False)
@router.get(
    "/health",
    response_model=HealthView,
    responses={503: {"model": HealthView, "description": "Before the first routing table, and while draining"}},
)
async def health(request: Request) -> JSONResponse:
    """Tell whether the system serves: 200 while ok or degraded, 503 while down."""
    backend: Backend = request.app.state.backend
    seen = backend.health()
    status = HTTPStatus.SERVICE_UNAVAILABLE if seen.status == DOWN else HTTPStatus.OK
    return JSONResponse(dataclasses.asdict(seen), status, {"Cache-Control": "no-store"})
