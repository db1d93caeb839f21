"""The route of capabilities."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pixelflow.contracts.installation import Installation
from pixelflow.controlplane.api.auth import COMMON_ERRORS, AuthenticatedRoute, ReadsJobs
from pixelflow.controlplane.api.problems import documented
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.capabilities.service import CACHE_SECONDS

router = APIRouter(prefix="/v1/capabilities", tags=["capabilities"], route_class=AuthenticatedRoute)


@router.get("", summary="Show what this installation can do", responses=documented(*COMMON_ERRORS))
async def get_capabilities(_: ReadsJobs, services: ServicesOf, response: Response) -> Installation:
    """Return operations, formats, limits and versions, and the optional capabilities of live workers.

    The answer is at most five seconds old.
    """
    response.headers["Cache-Control"] = f"private, max-age={CACHE_SECONDS}"
    return await services.capabilities.get()
