"""The operation on capabilities, shared by both clients. Does no I/O."""

from __future__ import annotations

from pixelflow.client.api_calls import get
from pixelflow.client.models import Operation
from pixelflow.client.session import Session
from pixelflow.contracts.installation import Installation


def capabilities(session: Session) -> Operation[Installation]:
    """Return operations, formats, limits and versions of the installation, and what its live workers can do.

    Raises:
        ApiError: the API rejected the request; ``not_found`` if its release is older than this route.
        ConnectionFailedError: no response.
    """
    return (yield from get(session, "/v1/capabilities", Installation))
