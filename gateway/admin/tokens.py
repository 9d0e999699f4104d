"""/admin/tokens: API tokens, made, listed and revoked."""

from typing import Any

from fastapi import APIRouter

from gateway.admin.auth import Owner
from gateway.admin.failures import NAMED, PROTECTED
from gateway.admin.models import CreatedToken, ExceptionResponse, NewToken
from plugin_runtime.views import TokenView

router = APIRouter(prefix="/admin/tokens", tags=["tokens"])


@router.get("", response_model=list[TokenView], responses=PROTECTED)
async def list_tokens(operator: Owner) -> Any:
    """List all tokens that are not revoked, expired ones too; the secrets themselves are not kept."""
    return await operator.call("tokens.list")


@router.post(
    "",
    response_model=CreatedToken,
    status_code=201,
    responses={**PROTECTED, 409: {"model": ExceptionResponse, "description": "The name is taken"}},
)
async def create_token(operator: Owner, token: NewToken) -> Any:
    """Make a token; the answer is the only time it is shown."""
    return await operator.call("tokens.create", name=token.name, role=token.role, expires_days=token.expires_days)


@router.delete("/{token}", status_code=204, responses=NAMED)
async def revoke_token(operator: Owner, token: str) -> None:
    """Revoke a token by its id or name; every gateway refuses it from then on."""
    await operator.call("tokens.revoke", id=token)
