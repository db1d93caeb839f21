"""Sources on the service's own disk: off, or under the folders that an operator allows and nowhere else."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import client_of, service_with, worker_paused

from pixelflow.devstack.stack import Stack

STEP = steps.resize()


@pytest.fixture(scope="module")
def folders() -> Iterator[tuple[Path, Path]]:
    """A root, and a folder beside it."""
    parent = Path(tempfile.mkdtemp(prefix="pixelflow-local-")).resolve()
    root, outside = parent / "root", parent / "outside"
    for folder in (root, outside):
        folder.mkdir()
        (folder / "photo.jpg").write_bytes(pictures.photo())
    yield root, outside
    shutil.rmtree(parent)


@pytest.fixture(scope="module")
def local_service(folders: tuple[Path, Path]) -> Iterator[Stack]:
    with service_with({"PIXELFLOW_LOCAL_ROOTS": str(folders[0]), "PIXELFLOW_LOCAL_ACCESS": "shared"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def local_client(local_service: Stack) -> Iterator[httpx.Client]:
    with client_of(local_service) as client:
        yield client


def _create(client: httpx.Client, path: object) -> httpx.Response:
    body = {"source_type": "local_file", "object_key": str(path), "pipeline": [STEP]}
    return client.post("/v1/jobs", json=body)


def test_local_files_are_off_unless_an_operator_allows_them(somebody: httpx.Client, folders: tuple[Path, Path]) -> None:
    for path in (folders[0] / "photo.jpg", "/etc/passwd", "/does/not/exist"):
        answer = _create(somebody, path)
        assert (answer.status_code, answer.json()["code"]) == (403, "local_files_disabled")


@pytest.mark.parametrize("path", ["photo.jpg", "../photo.jpg", "file:///photos/photo.jpg"])
def test_a_relative_path_is_rejected(somebody: httpx.Client, path: str) -> None:
    answer = _create(somebody, path)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["pointer"], "must be an absolute path" in error["message"]) == ("/object_key", True)


def test_a_file_under_a_root_is_worked_on_where_it_lies(local_client: httpx.Client, folders: tuple[Path, Path]) -> None:
    source = folders[0] / "photo.jpg"
    created = _create(local_client, source).json()
    assert created["upload"]["presigned_url_state"] == "not_required"
    assert created["upload"]["presigned_put_url"] is None
    assert steps.start(local_client, created).status_code == 202
    job = steps.finished(local_client, created["job_id"])
    assert job["status"] == "succeeded", job["error"]
    output = job["outputs"][0]
    path = Path(output["object_key"])
    assert path.is_relative_to(folders[0])
    assert output["download_url"] is None
    assert output["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert pictures.opened(path.read_bytes()).size == (60, 40)
    assert source.read_bytes() == pictures.photo(), "the source is left as it was"


def test_a_link_that_stays_under_the_root_is_followed(local_client: httpx.Client, folders: tuple[Path, Path]) -> None:
    link = folders[0] / "link.jpg"
    link.symlink_to("photo.jpg")
    assert _create(local_client, link).json()["upload"]["object_key"] == str(folders[0] / "photo.jpg")


def _linked(root: Path, target: Path) -> Path:
    link = root / f"link-{len(list(root.iterdir()))}"
    link.symlink_to(target)
    return link


def _fifo(root: Path, _: Path) -> Path:
    path = root / "fifo"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    "path_of",
    [
        pytest.param(lambda _, outside: outside / "photo.jpg", id="a file outside"),
        pytest.param(lambda root, _: root / ".." / "outside" / "photo.jpg", id=".."),
        pytest.param(lambda root, _: f"{root}/./sub/../../outside/photo.jpg", id="more dots"),
        pytest.param(lambda root, outside: _linked(root, outside / "photo.jpg"), id="a link to a file outside"),
        pytest.param(lambda root, outside: _linked(root, outside) / "photo.jpg", id="a linked folder"),
        pytest.param(lambda root, _: _linked(root, Path("/dev/zero")), id="a link to a device"),
        pytest.param(lambda root, _: _linked(root, Path("/proc/self/environ")), id="a link to the environment"),
        pytest.param(lambda root, _: _linked(root, root / "nothing"), id="a link to nothing"),
        pytest.param(lambda root, _: _linked(root, root / f"link-{len(list(root.iterdir()))}"), id="a link to itself"),
        pytest.param(_fifo, id="a pipe"),
        pytest.param(lambda *_: "/dev/zero", id="a device"),
        pytest.param(lambda root, _: root, id="the root itself"),
        pytest.param(lambda root, _: root / "nothing.jpg", id="no file"),
        pytest.param(lambda root, _: f"{root}-like/photo.jpg", id="a folder with a like name"),
        pytest.param(lambda root, _: f"{root}/{'x' * 4000}", id="a long name"),
    ],
)
def test_what_is_not_a_regular_file_under_a_root_is_refused(
    local_client: httpx.Client, folders: tuple[Path, Path], path_of: Callable[[Path, Path], object]
) -> None:
    answer = _create(local_client, path_of(*folders))
    assert (answer.status_code, answer.json()["code"]) == (403, "local_files_disabled")
    assert answer.json()["detail"] == _create(local_client, "/etc/passwd").json()["detail"], "no hint of what is there"


@pytest.mark.parametrize("after_start", [False, True], ids=["before the start", "after the start"])
def test_a_file_that_became_a_link_to_outside_is_not_read(
    local_client: httpx.Client, local_service: Stack, folders: tuple[Path, Path], after_start: bool
) -> None:
    source = folders[0] / f"changing-{after_start}.jpg"
    source.write_bytes(pictures.photo())
    created = _create(local_client, source).json()
    if not after_start:
        _turn_into_link(source, folders[1] / "photo.jpg")
        answer = steps.start(local_client, created)
        assert (answer.status_code, answer.json()["code"]) == (409, "source_missing")
        return
    with worker_paused(local_service):
        assert steps.start(local_client, created).status_code == 202
        _turn_into_link(source, folders[1] / "photo.jpg")
    job = steps.finished(local_client, created["job_id"])
    assert (job["status"], (job["error"] or {}).get("code")) == ("failed", "source_gone")


def _turn_into_link(path: Path, target: Path) -> None:
    link = path.with_suffix(".link")
    link.symlink_to(target)
    link.replace(path)
