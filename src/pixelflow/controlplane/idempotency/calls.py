"""``Idempotency-Key`` on every POST (draft-ietf-httpapi-idempotency-key-header).

A route does its work within :meth:`IdempotentCall.run`, after authentication and validation: a request that fails
before that has no effect and does not use up its key. Nor does one that fails within: whether it fails depends on what
is stored, such as whether the source was uploaded, so a repeated request is processed again. Only successes are stored.

The guarantee survives crashes: the key's row is committed before the resource is created and contains the resource's
ID, so a request that repeats an interrupted one finds what that one created.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Annotated, TypeAlias, TypeVar
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from pixelflow.adapters.ids import new_id
from pixelflow.adapters.postgres.database import AsyncDatabase, of_user
from pixelflow.contracts.jobs.responses import CreatedJob
from pixelflow.controlplane.api.services import Services
from pixelflow.controlplane.encryption import DecryptionError, SecretCipher, response_owner
from pixelflow.controlplane.idempotency import store
from pixelflow.controlplane.identity import Identity
from pixelflow.errors import (
    DependencyError,
    IdempotencyAnswerLostError,
    IdempotencyInProgressError,
    IdempotencyKeyInvalidError,
    IdempotencyKeyReusedError,
    NotFoundError,
    RequestError,
)

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MAX_KEY = 255
_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY}}}")
_SUCCESS = 200
"""The status that is stored; a route may have another one, which its responses have in any case."""

IDEMPOTENCY_ERRORS = (
    IdempotencyKeyInvalidError,
    IdempotencyAnswerLostError,
    IdempotencyInProgressError,
    IdempotencyKeyReusedError,
)
"""Errors of every POST, in addition to its own."""

_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class IdempotentRequest:
    """A request with a key."""

    user_id: str
    key: str
    fingerprint: bytes
    """Equal for equal requests only."""
    job_id: UUID | None
    """The job that the response describes."""
    creates_job: bool
    """Whether the response describes the job that the request creates."""

    @property
    def owner(self) -> str:
        """The owner that the stored response is encrypted for."""
        return response_owner(self.user_id, self.key)


@dataclass(frozen=True)
class Claim:
    """The right to execute a request."""

    holder: UUID
    resource_id: UUID
    """The ID to create the resource under."""


@dataclass(frozen=True)
class StoredResponse:
    """The response to the request that succeeded."""

    status: int
    body: bytes = field(repr=False)


CreateJob: TypeAlias = Callable[[UUID], Awaitable[CreatedJob]]
CreateJobWithKey: TypeAlias = Callable[[UUID, Callable[[CreatedJob], store.AnsweredKey]], Awaitable[CreatedJob | None]]
"""Creates a job together with the key that the function makes of the response; ``None`` if the key exists."""
RenewJob: TypeAlias = Callable[[CreatedJob], Awaitable[CreatedJob]]


class IdempotentCall:
    """Executes one request, or returns its stored response."""

    def __init__(
        self,
        request: Request,
        response: Response,
        database: AsyncDatabase,
        cipher: SecretCipher,
        *,
        lease: timedelta,
    ) -> None:
        """``lease`` must be longer than the request can have effects (``Settings.idempotency_lease``)."""
        self._request = request
        self._response = response
        self._database = database
        self._cipher = cipher
        self._lease = lease

    @property
    def has_key(self) -> bool:
        """Whether the client can repeat the request to get the response."""
        return HEADER in self._request.headers

    async def run(
        self,
        identity: Identity,
        model: type[_M],
        operation: Callable[[UUID], Awaitable[_M]],
        *,
        job_id: UUID | None = None,
        creates_job: bool = False,
        renew: Callable[[_M], Awaitable[_M]] | None = None,
    ) -> _M:
        """Return the result of ``operation``, or the stored response of the first request with the same key.

        Args:
            identity: the authenticated user. Each user has separate keys.
            model: the model of the response.
            operation: does the work and creates its resource under the given ID. After a crash it is called again with
                the same ID, so it must be idempotent per ID.
            job_id: the job that the response describes. Erasing that job deletes the stored response.
            creates_job: whether the response describes the job that ``operation`` creates.
            renew: replaces the expired parts of a stored response, such as presigned URLs.

        Raises:
            IdempotencyKeyInvalidError, IdempotencyKeyReusedError, IdempotencyInProgressError: the key can't be used.
            IdempotencyAnswerLostError: the stored response can't be decrypted.
            NotFoundError: the job that the first response described has been erased.
        """
        key = _read_key(self._request)
        if key is None:
            return await operation(new_id())
        fingerprint = await _fingerprint(self._request)
        request = IdempotentRequest(identity.user_id, key, fingerprint, job_id, creates_job)
        outcome: Claim | StoredResponse | _M = await self._claim_or_find(request)
        if isinstance(outcome, Claim):
            outcome = await self._execute(request, outcome, operation)
        if not isinstance(outcome, StoredResponse):
            return outcome
        self._response.headers[REPLAYED] = "true"
        result = model.model_validate_json(outcome.body)
        return await renew(result) if renew else result

    async def create_job(
        self, identity: Identity, create: CreateJob, create_with_key: CreateJobWithKey, *, renew: RenewJob
    ) -> CreatedJob:
        """As :meth:`run`, in one statement for a new key: it stores the job, the key and the response.

        Raises:
            PixelflowError: as :meth:`run`, and the errors of ``create``.
        """
        key, job_id = _read_key(self._request), new_id()
        if key is None:
            return await create(job_id)
        request = IdempotentRequest(identity.user_id, key, await _fingerprint(self._request), job_id, creates_job=True)
        with contextlib.suppress(RequestError):  # whether the key has a response decides whether this error counts
            created = await create_with_key(job_id, partial(self._answer, request))
            if created is not None:
                return created
        return await self.run(identity, CreatedJob, create, creates_job=True, renew=renew)

    def _answer(self, request: IdempotentRequest, result: BaseModel) -> store.AnsweredKey:
        ciphertext = self._cipher.encrypt(_body(result), owner=request.owner)
        return store.AnsweredKey(request.key, request.fingerprint, _SUCCESS, ciphertext)

    async def _claim_or_find(self, request: IdempotentRequest) -> Claim | StoredResponse:
        holder, resource_id = new_id(), new_id()
        async with self._database.connection(of_user(request.user_id)) as connection:
            claimed_id = await store.claim(
                connection,
                user_id=request.user_id,
                key=request.key,
                fingerprint=request.fingerprint,
                job_id=resource_id if request.creates_job else request.job_id,
                resource_id=resource_id,
                holder=holder,
                lease=self._lease,
                keep=store.KEEP,
            )
            if claimed_id is not None:
                return Claim(holder, claimed_id)
            stored = await store.find(connection, user_id=request.user_id, key=request.key)
        return self._read_response(request, stored)

    def _read_response(self, request: IdempotentRequest, stored: store.StoredRequest | None) -> StoredResponse:
        if stored is not None and stored.fingerprint != request.fingerprint:
            raise IdempotencyKeyReusedError("This key was sent with another body or to another route; use a new key")
        if stored is not None and stored.job_erased:
            raise NotFoundError("The job of this request has been erased")
        if stored is None or stored.status is None or stored.ciphertext is None:
            raise IdempotencyInProgressError("Repeat the request shortly to get its response")
        try:
            return StoredResponse(stored.status, self._cipher.decrypt(stored.ciphertext, owner=request.owner))
        except DecryptionError as error:
            raise IdempotencyAnswerLostError(
                "The service's encryption key has changed; fetch the resource that the first request created"
            ) from error

    async def _execute(
        self, request: IdempotentRequest, claim: Claim, operation: Callable[[UUID], Awaitable[_M]]
    ) -> _M | StoredResponse:
        """Return the result, or the stored response if another request took the claim over and finished first."""
        try:
            result = await operation(claim.resource_id)
        except Exception:
            await self._release(request, claim)
            raise
        # The work is done. If storing the response fails, a repeated request runs again under the same ID.
        with contextlib.suppress(DependencyError):
            if not await self._finish(request, claim, _body(result)):
                return await self._find_other_response(request) or result
        return result

    async def _find_other_response(self, request: IdempotentRequest) -> StoredResponse | None:
        """Return the response that replaces this request's, which lost its claim; ``None`` if its job was erased.

        Raises:
            IdempotencyInProgressError: the request that took the claim over has not finished.
        """
        async with self._database.connection(of_user(request.user_id)) as connection:
            stored = await store.find(connection, user_id=request.user_id, key=request.key)
        return None if stored is None or stored.job_erased else self._read_response(request, stored)

    async def _finish(self, request: IdempotentRequest, claim: Claim, body: bytes) -> bool:
        async with self._database.connection(of_user(request.user_id)) as connection:
            return await store.finish(
                connection,
                user_id=request.user_id,
                key=request.key,
                holder=claim.holder,
                status=_SUCCESS,
                ciphertext=self._cipher.encrypt(body, owner=request.owner),
            )

    async def _release(self, request: IdempotentRequest, claim: Claim) -> None:
        with contextlib.suppress(DependencyError):  # the lease expires anyway
            async with self._database.connection(of_user(request.user_id)) as connection:
                await store.release(connection, user_id=request.user_id, key=request.key, holder=claim.holder)


def _body(result: BaseModel) -> bytes:
    return result.model_dump_json(by_alias=True, exclude_unset=True).encode()


def _read_key(request: Request) -> str | None:
    keys = request.headers.getlist(HEADER)
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise IdempotencyKeyInvalidError(f"Send one key of 1 to {MAX_KEY} visible ASCII characters, for example a UUID")
    return keys[0]


async def _fingerprint(request: Request) -> bytes:
    """Hash method, path, query and body. Unambiguous: a newline ends each of the first two lines."""
    head = f"{request.method} {request.scope['path']}\n{request.url.query}\n".encode()
    return hashlib.sha256(head + await request.body()).digest()


async def _idempotent_call(
    request: Request,
    response: Response,
    _: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="Makes the request safe to retry. Repeating the same request with the same key within 24 hours "
            "returns the response of the one that succeeded and has no further effect; after an error, the request is "
            "processed again. 1 to 255 visible ASCII characters, for example a "
            "UUID.",
            # Only for the document: an invalid key has an error code of its own.
            json_schema_extra={"minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]+$"},
        ),
    ] = None,
) -> IdempotentCall:
    services: Services = request.state.services  # not a dependency: FastAPI resolves each in turn
    return IdempotentCall(
        request, response, services.database, services.response_cipher, lease=services.idempotency_lease
    )


IdempotentCallOf = Annotated[IdempotentCall, Depends(_idempotent_call)]
"""The idempotent call of a request; every POST route depends on it."""
