"""The API stays small: no image byte passes through it, and it never loads what decodes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import process_of

from pixelflow.devstack.stack import Stack

MEBIBYTE = 1024 * 1024


def test_a_large_upload_leaves_the_api_as_it_was(somebody: httpx.Client, service: Stack) -> None:
    steps.done(somebody, pictures.photo())
    created = steps.create(somebody, size=90 * MEBIBYTE)
    api = process_of(service, "api")
    before = api.resident_bytes
    _upload_zeros(created, 90 * MEBIBYTE)
    answer = steps.start(somebody, created)
    assert answer.status_code == 202, answer.text
    assert steps.finished(somebody, created["job_id"])["error"]["code"] == "unsupported_format"
    assert abs(api.resident_bytes - before) < 4 * MEBIBYTE


def _upload_zeros(created: steps.Json, size: int) -> None:
    chunk = bytes(MEBIBYTE)

    def chunks() -> Iterator[bytes]:
        for _ in range(size // len(chunk)):
            yield chunk

    headers = {"Content-Length": str(size)}
    answer = httpx.put(created["upload"]["presigned_put_url"], content=chunks(), headers=headers, timeout=60)
    assert answer.status_code == 200


def test_only_the_transforming_child_has_ever_loaded_libvips(somebody: httpx.Client, service: Stack) -> None:
    steps.done(somebody, pictures.photo())
    loaded = {name: _maps_libvips(process_of(service, name).pid) for name in ("api", "controller")}
    with contextlib.suppress(PermissionError):  # the worker hides its memory from everybody but root
        loaded["worker"] = _maps_libvips(process_of(service, "worker").pid)
    assert not any(loaded.values()), loaded


def _maps_libvips(pid: int) -> bool:
    return "vips" in Path(f"/proc/{pid}/maps").read_text().lower()
