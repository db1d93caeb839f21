"""Uploads and downloads: complete and checked, or an error and no partial file."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.client.conftest import Call
from tests.unit.client.stand_in import DROP, KEY, Fault, StandIn

from pixelflow.client import ConnectionFailedError, TransferError
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import Output
from pixelflow.contracts.uploads import MultipartUpload, UploadPart

STEPS = [{"id": "small", "action": "resize", "width": 64, "format": "webp"}]


def test_an_upload_sends_the_signed_headers_and_nothing_that_identifies_the_user(
    call: Call, api: StandIn, photo: Path
) -> None:
    call("submit", photo, STEPS)
    put = next(seen for seen in api.seen if seen.method == "PUT")
    assert put.path.endswith("?X-Amz-Signature=5ecre7&n=a%2Fb")
    assert put.headers.keys() == {"host", "user-agent", "content-length", "content-type"}
    assert (put.headers["content-length"], put.headers["content-type"]) == ("768000", "image/jpeg")


def test_the_key_is_sent_only_to_the_api(call: Call, api: StandIn, photo: Path, tmp_path: Path) -> None:
    job = call("process", photo, STEPS)
    call("download", job.outputs[0], tmp_path / "x")
    with_key = {seen.path.startswith("/v1/"): KEY in str(seen.headers) for seen in api.seen}
    assert with_key == {True: True, False: False}


def _gone(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(("spoil", "message"), [(_gone, "not a file"), (_folder, "not a file"), (_empty, "is empty")])
def test_an_unusable_file_is_rejected_before_anything_is_sent(
    call: Call, api: StandIn, photo: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(photo)
    with pytest.raises(TransferError, match=message):
        call("process", photo, STEPS)
    assert api.seen == []


def test_more_bytes_than_allowed_are_not_sent(call: Call, api: StandIn, photo: Path) -> None:
    api.max_bytes = 767_999
    with pytest.raises(TransferError, match="at most 767999 are allowed"):
        call("submit", photo, STEPS)
    assert api.count("PUT") == 0


def test_a_file_that_shrinks_during_the_upload_fails_it(call: Call, api: StandIn, photo: Path) -> None:
    with pytest.raises(TransferError, match="was truncated"):
        call("submit", photo, STEPS, on_progress=lambda *_: photo.write_bytes(b"short"))
    assert api.count("POST", "/start") == 0


def test_a_file_that_grows_during_the_upload_is_sent_as_declared(call: Call, api: StandIn, photo: Path) -> None:
    before = photo.read_bytes()

    def grow(*_: int) -> None:
        with photo.open("ab") as file:
            file.write(b"more")

    started = call("submit", photo, STEPS, on_progress=grow)
    assert api.jobs[started.job_id].source == before


def test_an_error_of_object_storage_shows_its_code_and_nothing_else(call: Call, api: StandIn, photo: Path) -> None:
    body = b"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>X-Amz-Signature=5ecre7</StringToSign></Error>"
    api.fail("put", Fault(403, body=body))
    with pytest.raises(TransferError) as caught:
        call("submit", photo, STEPS)
    reason = "the size, the type or another signed header differs from what was declared"
    assert str(caught.value) == f"Object storage rejected the upload: 403 SignatureDoesNotMatch; {reason}"
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "sent",
    [b"pixels of small", b"pixels of small" * 200, b"PIXELS OF SMALL" * 100, b""],
    ids=["short", "long", "other", "empty"],
)
def test_a_download_that_does_not_match_the_output_leaves_the_directory_unchanged(
    call: Call, api: StandIn, photo: Path, tmp_path: Path, sent: bytes
) -> None:
    job = call("process", photo, STEPS)
    target = tmp_path / "out" / "small.webp"
    target.parent.mkdir()
    target.write_bytes(b"from before")
    api.output_bytes = lambda _: sent
    with pytest.raises(TransferError, match="does not match"):
        call("download", job.outputs[0], target)
    assert [path.name for path in target.parent.iterdir()] == ["small.webp"]
    assert target.read_bytes() == b"from before"


def test_an_interrupted_download_starts_again_on_an_empty_file(
    call: Call, api: StandIn, photo: Path, tmp_path: Path
) -> None:
    job = call("process", photo, STEPS)
    half = Fault(200, {"Content-Length": "1500", "Connection": "close"}, b"pixels of sm")
    api.fail("download", half, half)
    path = call("download", job.outputs[0], tmp_path / "small.webp")
    assert path.read_bytes() == api.output_bytes("small")


def test_a_download_that_keeps_being_interrupted_fails_and_leaves_no_file(
    call: Call, api: StandIn, photo: Path, tmp_path: Path
) -> None:
    job = call("process", photo, STEPS)
    api.fail("download", *[Fault(200, {"Content-Length": "1500", "Connection": "close"}, b"pixels")] * 4)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(ConnectionFailedError):
        call("download", job.outputs[0], folder / "small.webp")
    assert list(folder.iterdir()) == []


def test_a_download_into_a_missing_directory_fails(call: Call, photo: Path, tmp_path: Path) -> None:
    job = call("process", photo, STEPS)
    with pytest.raises(TransferError, match="can't be written: No such file"):
        call("download", job.outputs[0], tmp_path / "nowhere" / "small.webp")


def test_an_output_under_a_local_root_can_not_be_downloaded(call: Call, tmp_path: Path) -> None:
    output = Output.model_validate(
        {
            "step_id": "small", "action": "resize", "format": "webp", "object_key": "/data/small.webp", "bytes": 1,
            "width": 1, "height": 1, "sha256": "0", "download_url": None,
        }
    )  # fmt: skip
    with pytest.raises(TransferError, match=r"/data/small\.webp"):
        call("download", output, tmp_path / "x")


def test_an_expired_output_can_not_be_downloaded(call: Call, tmp_path: Path) -> None:
    output = Output.model_validate(
        {
            "step_id": "small", "action": "resize", "format": "webp", "object_key": "outputs/x", "bytes": 1,
            "width": 1, "height": 1, "sha256": "0", "download_url": None, "expired_at": "2026-11-26T12:00:00Z",
        }
    )  # fmt: skip
    with pytest.raises(TransferError, match="Output small expired on 2026-11-26"):
        call("download", output, tmp_path / "x")


def test_a_file_of_another_size_than_declared_is_not_sent(call: Call, api: StandIn, photo: Path) -> None:
    request = CreateJobRequest.model_validate({"source": {"content_length": 4}, "pipeline": STEPS})
    created = call("create_job", request)
    upload = created.upload.model_copy(update={"content_length": 4})
    sent = len(api.seen)
    with pytest.raises(TransferError, match="the upload was created for 4"):
        call("upload", upload, photo)
    assert len(api.seen) == sent


@pytest.mark.parametrize("given", ["bytes", "file", "rest of a file", "stream"])
def test_bytes_and_open_files_are_uploaded_like_a_path(
    call: Call, api: StandIn, photo: Path, tmp_path: Path, given: str
) -> None:
    content = photo.read_bytes()
    front = tmp_path / "front"
    front.write_bytes(b"front" + content)
    with photo.open("rb") as file, front.open("rb") as rest:
        rest.seek(5)
        sources = {"bytes": content, "file": file, "rest of a file": rest, "stream": io.BytesIO(content)}
        # The first PUT is lost, so it is sent again from the first byte.
        api.fail("put", DROP)
        started = call("submit", sources[given], STEPS)
    assert api.jobs[started.job_id].source == content
    declared = api.jobs[started.job_id].request.source
    assert declared is not None
    assert (declared.content_length, declared.content_type) == (768_000, "image/jpeg" if given == "file" else None)


def test_the_content_of_an_output_is_returned_as_bytes(call: Call, photo: Path, tmp_path: Path) -> None:
    job = call("process", photo, STEPS)
    assert call("download_bytes", job.outputs[0]) == call("download", job.outputs[0], tmp_path / "x").read_bytes()


def test_bytes_that_do_not_match_the_output_are_not_returned(call: Call, photo: Path) -> None:
    output = call("process", photo, STEPS).outputs[0]
    for wrong in (
        output.model_copy(update={"bytes": output.bytes + 1}),
        output.model_copy(update={"sha256": "0" * 64}),
    ):
        with pytest.raises(TransferError, match="does not match"):
            call("download_bytes", wrong)


def test_what_is_no_photo_is_named_with_what_is_accepted(call: Call, api: StandIn, photo: Path) -> None:
    pipe, other = os.pipe()
    os.close(other)
    with os.fdopen(pipe, "rb") as unseekable, photo.open("r") as text:
        for wrong, error, said in [
            (text, TypeError, 'open it with mode "rb"'),
            (unseekable, TransferError, "pass its bytes instead"),
            (b"", TransferError, "the given bytes is empty"),
        ]:
            with pytest.raises(error, match=re.escape(said)):
                call("submit", wrong, STEPS)
    assert api.seen == []


# ── Uploads in parts ─────────────────────────────────────────────────────────────────────────────


def test_a_large_file_is_declared_in_parts(call: Call, api: StandIn, photo: Path) -> None:
    sizes = {768_000: False, 767_999: True}
    for multipart_bytes in sizes:
        call("submit", photo, STEPS, multipart_bytes=multipart_bytes)
    declared = [kept.request.source for kept in api.jobs.values()]
    assert [source and source.multipart for source in declared] == list(sizes.values())


def test_missing_parts_are_uploaded_and_each_is_retried_by_itself(call: Call, api: StandIn, photo: Path) -> None:
    source = {"content_length": 768_000, "multipart": True}
    created = call("create_job", CreateJobRequest.model_validate({"source": source, "pipeline": STEPS}))
    url = f"{api.url}/bucket/uploads/{created.job_id}/source"
    parts = [
        UploadPart(number=number, url=f"{url}?partNumber={number}", offset=offset, content_length=size)
        for number, offset, size in ((2, 300_000, 300_000), (3, 600_000, 168_000))
    ]
    multipart = MultipartUpload(part_size=300_000, parts=parts)
    upload = created.upload.model_copy(update={"presigned_put_url": None, "multipart": multipart})
    api.faults["put"] = [Fault(200), DROP, Fault(503), Fault(200)]
    seen: list[int] = []
    with photo.open("rb") as file:
        call("upload", upload, file, on_progress=lambda sent, _: seen.append(sent))
    puts = [each for each in api.seen if each.method == "PUT"]
    assert [each.path[-1] for each in puts] == ["2", "3", "3", "3"]
    content = photo.read_bytes()
    assert (puts[0].body, puts[-1].body) == (content[300_000:600_000], content[600_000:])
    assert puts[0].headers.keys() == {"host", "user-agent", "content-length"}
    assert (min(seen) > 300_000, seen[-1]) == (True, 768_000)
    api.seen.clear()
    call("upload", upload.model_copy(update={"multipart": MultipartUpload(part_size=300_000, parts=[])}), photo)
    assert api.seen == []
