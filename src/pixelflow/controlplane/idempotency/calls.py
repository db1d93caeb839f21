"""``Idempotency-Key`` on every POST (draft-ietf-httpapi-idempotency-key-header).

A route does what it does within ``Once.answer``, after authentication and validation: what is refused before that has
done nothing and leaves the key unused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from pixelflow.contracts.errors import (
    DependencyError,
    IdempotencyAnswerLostError,
    IdempotencyInProgressError,
    IdempotencyKeyInvalidError,
    IdempotencyKeyReusedError,
    PixelflowError,
)
from pixelflow.controlplane.api import problems
from pixelflow.controlplane.api.services import ServicesOf
from pixelflow.controlplane.idempotency.service import Claim, Idempotency, IdempotentRequest, StoredResponse
from pixelflow.controlplane.identity import Identity

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_KEY = 255
_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY}}}")
_DONE, _REFUSED, _OURS = 200, 400, 500
"""Statuses: kept for any success, the least of a refusal, the least of a failure of ours; these are never kept."""

IDEMPOTENCY_ERRORS = (
    IdempotencyKeyInvalidError,
    IdempotencyAnswerLostError,
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
)
"""What every POST may answer with, beside its own."""

_M = TypeVar("_M", bound=BaseModel)


class ReplayedRefusalError(Exception):
    """Carries a kept refusal to whoever writes it out."""

    def __init__(self, answer: StoredResponse) -> None:
        super().__init__(answer.status)
        self.answer = answer


class IdempotentCall:
    """Does what one request asks for, or repeats the answer that it had."""

    def __init__(self, request: Request, response: Response, idempotency: Idempotency) -> None:
        self._request = request
        self._response = response
        self._idempotency = idempotency

    async def answer(
        self,
        identity: Identity,
        model: type[_M],
        do: Callable[[UUID], Awaitable[_M]],
        *,
        job_id: UUID | None = None,
        creates_job: bool = False,
        renew: Callable[[_M], Awaitable[_M]] | None = None,
    ) -> _M:
        """The answer to the request, from ``do`` or kept from the first time.

        Args:
            identity: whoever asks; keys of two users are two keys.
            model: of the answer.
            do: does it, and creates what it creates under the id that it is given; it may be called again with the same
                one, if a crash came between.
            job_id: the job that the answer tells of; erasing it erases the answer.
            creates_job: whether it is the one that ``do`` creates.
            renew: makes what has gone stale in a kept answer anew.

        Raises:
            IdempotencyKeyInvalidError, IdempotencyKeyReusedError, IdempotencyInProgressError: the key can't be used.
            NotFoundError: the job that the first answer told of has been erased.
            ReplayedRefusalError: the first answer was a refusal.
        """
        key = _read_key(self._request)
        if key is None:
            return await do(self._idempotency.new_id())
        fingerprint = await _fingerprint(self._request)
        asked = IdempotentRequest(identity.user_id, key, fingerprint, job_id=job_id, creates_job=creates_job)
        begun = await self._idempotency.begin(asked)
        if isinstance(begun, Claim):
            return await self._do(asked, begun, do)
        if begun.status >= _REFUSED:
            raise ReplayedRefusalError(begun)
        self._response.headers[REPLAYED] = "true"
        kept = model.model_validate_json(begun.body)
        return await renew(kept) if renew else kept

    async def _do(self, asked: IdempotentRequest, begun: Claim, do: Callable[[UUID], Awaitable[_M]]) -> _M:
        try:
            result = await do(begun.resource_id)
        except PixelflowError as error:
            await self._give_up(asked, begun, error)
            raise
        except Exception:
            await self._release(asked, begun)
            raise
        body = result.model_dump_json(by_alias=True, exclude_unset=True).encode()
        with contextlib.suppress(DependencyError):  # it is done: said again, it is done again under the same id
            await self._idempotency.finish(asked, begun, StoredResponse(_DONE, body))
        return result

    async def _give_up(self, asked: IdempotentRequest, begun: Claim, error: PixelflowError) -> None:
        refusal = problems.response(error, self._request.state.request_id)
        if refusal.status_code >= _OURS:
            await self._release(asked, begun)
        else:
            await self._idempotency.finish(asked, begun, StoredResponse(refusal.status_code, bytes(refusal.body)))

    async def _release(self, asked: IdempotentRequest, begun: Claim) -> None:
        with contextlib.suppress(DependencyError):  # the lease runs out by itself
            await self._idempotency.release(asked, begun)


def install(app: FastAPI) -> None:
    """Let the app write out refusals that were kept."""
    app.add_exception_handler(ReplayedRefusalError, _on_replayed_refusal)


async def _on_replayed_refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ReplayedRefusalError)  # noqa: S101  # how the handler is registered
    body = json.loads(error.answer.body) | {"request_id": request.state.request_id}
    request.state.code = body["code"]
    return JSONResponse(body, error.answer.status, {REPLAYED: "true"}, problems.MEDIA_TYPE)


def _read_key(request: Request) -> str | None:
    keys = request.headers.getlist(HEADER)
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise IdempotencyKeyInvalidError(
            f"Send one key, of 1 to {MAX_KEY} visible ASCII characters; a UUID is a good one"
        )
    return keys[0]


async def _fingerprint(request: Request) -> bytes:
    """SHA-256 of what makes the request this one. No part can run over into the next: newlines end the first two."""
    head = f"{request.method} {request.scope['path']}\n{request.url.query}\n".encode()
    return hashlib.sha256(head + await request.body()).digest()


async def _once(
    request: Request,
    response: Response,
    services: ServicesOf,
    _: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="The same key and request again within 24 hours: the first answer, and nothing is done twice. "
            "1 to 255 visible ASCII characters; a UUID is a good one.",
            # For the document alone: a key that is wrong has a code of its own.
            json_schema_extra={"minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]+$"},
        ),
    ] = None,
) -> IdempotentCall:
    return IdempotentCall(request, response, services.idempotency)


IdempotentCallOf = Annotated[IdempotentCall, Depends(_once)]
"""For every POST."""
