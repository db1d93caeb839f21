"""``pixelflow submit --resume``, and directories of photos: what is sent, and what a second command does."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.client.stand_in import DROP, LOST, Fault, StandIn
from typer.testing import Result

from pixelflow.cli.manifest import FILE_NAME, Manifest
from pixelflow.client.retries import MAX_ATTEMPTS
from pixelflow.contracts.jobs.states import JobStatus

Run = Callable[..., Result]
JPEG = b"\xff\xd8\xff\xe0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos, two of them with the same name, and files that are not photos."""
    folder = tmp_path / "photos"
    for name in ("a.jpg", "2024/a.jpg", "2024/b.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG + name.encode())
    for name in ("notes.txt", ".hidden.jpg"):
        (folder / name).write_bytes(b"text" if name == "notes.txt" else JPEG)
    return folder


def submit(pixelflow: Run, *arguments: object, resize: str = "64") -> tuple[Result, list[dict[str, Any]]]:
    """Run ``submit --resume --json``; return the result and its jobs."""
    result = pixelflow("submit", *arguments, "--resize", resize, "--resume", "--json")
    return result, json.loads(result.stdout)["jobs"] if result.stdout else []


def created(api: StandIn) -> list[dict[str, Any]]:
    """The bodies of the requests that create jobs."""
    return [json.loads(seen.body) for seen in api.seen if (seen.method, seen.path) == ("POST", "/v1/jobs")]


def test_a_directory_stands_for_its_images_and_outputs_have_the_same_subdirectories(
    pixelflow: Run, api: StandIn, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = pixelflow("submit", folder, "--resize", "64", "--out", out)
    assert result.exit_code == 0, result.output
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert names == ["2024/a-64.jpg", "2024/b-64.jpg", "a-64.jpg"]
    assert {body["metadata"]["filename"] for body in created(api)} == {"a.jpg", "2024/a.jpg", "2024/b.jpg"}
    assert f"{folder / 'notes.txt'} is no image" in result.stderr


@pytest.mark.parametrize(("out", "refused"), [("photos", True), (".", False), ("same", True)])
def test_outputs_that_would_become_photos_of_the_next_command_are_refused(
    *, pixelflow: Run, api: StandIn, folder: Path, tmp_path: Path, out: str, refused: bool
) -> None:
    if out == "same":  # the parent of the photos, which have a subdirectory of the same name as their directory
        (folder / "photos").mkdir()
        (folder / "photos" / "c.jpg").write_bytes(JPEG)
    result = pixelflow("submit", folder, "--resize", "64", "--out", tmp_path / ("" if out == "same" else out))
    assert (result.exit_code, "outputs would become photos" in result.stderr) == ((2, True) if refused else (0, False))
    assert bool(api.seen) is not refused


def test_a_directory_for_outputs_below_the_photos_is_not_searched(pixelflow: Run, api: StandIn, folder: Path) -> None:
    for _ in range(2):
        assert pixelflow("submit", folder, "--resize", "64", "--out", folder / "small").exit_code == 0
    assert len(api.jobs) == 6


def test_the_manifest_of_an_earlier_command_is_not_reported_among_the_photos(
    pixelflow: Run, api: StandIn, folder: Path
) -> None:
    (folder / "notes.txt").unlink()
    for _ in range(2):
        result = pixelflow("submit", folder, "--resize", "64", "--resume")
        assert result.exit_code == 0
        assert "no image" not in result.stderr
    assert (folder / "pixelflow-manifest.sqlite").exists()
    assert len(api.jobs) == 3


@pytest.mark.parametrize("resume", [True, False])
def test_only_manifests_are_left_out_whatever_their_name(
    *, pixelflow: Run, api: StandIn, folder: Path, resume: bool
) -> None:
    (folder / "notes.txt").unlink()
    other = folder / "other.sqlite"
    Manifest(other, api.url).close()
    for name in (FILE_NAME, f"{FILE_NAME}-wal", "other.sqlite-wal"):  # the first as it is before its first change
        (folder / name).touch()
    if not resume:
        Manifest(folder / FILE_NAME, api.url).close()
    for name in (f"{FILE_NAME} photos/c.jpg", f"{FILE_NAME}.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(JPEG + name.encode())
    options = ["--resume"] if resume else []
    result = pixelflow("submit", folder, "--resize", "64", *options)
    assert (result.exit_code, len(api.jobs), "no image" in result.stderr) == (0, 5, False), result.output


@pytest.mark.parametrize("manifest", [FILE_NAME, "../link/other.sqlite"])
def test_a_manifest_that_a_shell_names_among_the_photos_is_not_sent(
    pixelflow: Run, api: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch, manifest: str
) -> None:
    (folder / "notes.txt").unlink()
    (folder.parent / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    for _ in range(2):
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        result = pixelflow("submit", *names, "--resize", "64", "--resume", "--manifest", manifest)
        assert (result.exit_code, len(api.jobs)) == (0, 3), result.output
    assert len(names) == 3


def test_a_file_name_that_is_not_text_or_too_long_is_still_metadata(
    pixelflow: Run, api: StandIn, tmp_path: Path
) -> None:
    photo = tmp_path / os.fsdecode(b"a\xff.jpg")
    photo.write_bytes(JPEG)
    deep = tmp_path / "deep" / ("x" * 200) / ("y" * 200) / ("z" * 200)
    deep.mkdir(parents=True)
    (deep / "end.jpg").write_bytes(JPEG)
    assert pixelflow("submit", photo, tmp_path / "deep", "--resize", "64").exit_code == 0
    names = [body["metadata"]["filename"] for body in created(api)]
    assert sorted(map(len, names)) == [6, 512]
    assert {name[-7:] for name in names} == {"a\N{REPLACEMENT CHARACTER}.jpg", "end.jpg"}


def test_a_second_command_sends_and_downloads_nothing(
    pixelflow: Run, api: StandIn, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert submit(pixelflow, folder, "--out", out)[0].exit_code == 0
    api.seen.clear()
    result, jobs = submit(pixelflow, folder, "--out", out)
    assert (result.exit_code, api.seen) == (0, [])
    assert {(job["status"], job["sent_before"]) for job in jobs} == {("succeeded", "same")}
    assert "3 photos were sent before" in result.stderr
    assert {path.name for path in out.iterdir()} == {"2024", "a-64.jpg", FILE_NAME}
    assert (out / FILE_NAME).stat().st_mode & 0o77 == 0


def test_a_photo_that_is_named_twice_is_sent_once(pixelflow: Run, api: StandIn, folder: Path, tmp_path: Path) -> None:
    submit(pixelflow, folder, folder / "a.jpg", folder, "--manifest", tmp_path / "m")
    assert len(api.jobs) == 3


@pytest.mark.parametrize("route", ["create", "put", "start", "get", "download"])
@pytest.mark.parametrize("fault", [Fault(500), DROP, LOST], ids=["refused", "dropped", "response lost"])
def test_whatever_broke_off_the_next_command_continues_with_the_same_job(
    *, pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path, route: str, fault: Fault
) -> None:
    out = tmp_path / "out"
    api.fail(route, *[fault] * MAX_ATTEMPTS)
    broken, _ = submit(pixelflow, photo, "--out", out)
    waits_on = route == "get" and fault in (DROP, LOST)
    assert (broken.exit_code == 0) is waits_on
    api.faults.clear()
    resumed, [job] = submit(pixelflow, photo, "--out", out)
    assert (resumed.exit_code, job["status"]) == (0, "succeeded"), resumed.stderr
    assert [str(job_id) for job_id in api.jobs] == [job["job_id"]]
    assert (out / "photo-64.jpg").read_bytes() == api.output_bytes("64")
    assert {path.name for path in out.iterdir()} == {"photo-64.jpg", FILE_NAME}


def test_an_upload_that_arrived_is_not_repeated(pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path) -> None:
    api.fail("start", *[DROP] * MAX_ATTEMPTS)
    submit(pixelflow, photo, "--manifest", tmp_path / "m")
    submit(pixelflow, photo, "--manifest", tmp_path / "m")
    assert (api.count("PUT"), len(api.jobs)) == (1, 1)


def test_a_job_that_expired_before_it_was_started_is_replaced(
    pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path
) -> None:
    api.fail("put", *[DROP] * MAX_ATTEMPTS)
    submit(pixelflow, photo, "--manifest", tmp_path / "m")
    api.jobs.clear()
    result, [job] = submit(pixelflow, photo, "--manifest", tmp_path / "m")
    assert (result.exit_code, [str(job_id) for job_id in api.jobs]) == (0, [job["job_id"]])


def test_a_photo_that_changed_is_sent_again_and_one_that_was_touched_is_not(
    pixelflow: Run, api: StandIn, folder: Path, tmp_path: Path
) -> None:
    submit(pixelflow, folder, "--manifest", tmp_path / "m")
    (folder / "a.jpg").write_bytes(JPEG + b"retouched")
    os.utime(folder / "2024" / "a.jpg", ns=(1, 1))
    result, jobs = submit(pixelflow, folder, "--manifest", tmp_path / "m")
    assert {job["photo"].removeprefix(f"{folder}/"): job["sent_before"] for job in jobs} == {
        "a.jpg": "other_content",
        "2024/a.jpg": "same",
        "2024/b.jpg": "same",
    }
    assert "1 photos have changed since they were sent: they were sent again" in result.stderr
    assert len(api.jobs) == 4


def test_another_pipeline_sends_all_photos_again_and_says_so(
    pixelflow: Run, api: StandIn, folder: Path, tmp_path: Path
) -> None:
    submit(pixelflow, folder, "--manifest", tmp_path / "m")
    result, _ = submit(pixelflow, folder, "--manifest", tmp_path / "m", resize="32")
    assert "3 photos were sent with another pipeline before: they were sent again" in result.stderr
    assert len(api.jobs) == 6


def test_other_metadata_makes_no_new_jobs(pixelflow: Run, api: StandIn, folder: Path, tmp_path: Path) -> None:
    submit(pixelflow, folder, "--manifest", tmp_path / "m")
    submit(pixelflow, folder, "--manifest", tmp_path / "m", "--metadata", "sku=1")
    assert len(api.jobs) == 3


def test_new_photos_get_names_that_no_earlier_output_has(pixelflow: Run, api: StandIn, tmp_path: Path) -> None:
    out, names = tmp_path / "out", ["x/a.jpg", "b/a.jpg"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(JPEG + name.encode())
        submit(pixelflow, path, "--out", out)
    submit(pixelflow, *(tmp_path / name for name in reversed(names)), "--out", out)
    assert {path.name for path in out.iterdir()} == {"a-64.jpg", "a-2-64.jpg", FILE_NAME}
    assert len(api.jobs) == 2


def test_outputs_are_downloaded_to_each_directory_once(
    pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "m"
    submit(pixelflow, photo, "--manifest", manifest)
    for out in ("one", "two", "one"):
        assert submit(pixelflow, photo, "--manifest", manifest, "--out", tmp_path / out)[0].exit_code == 0
    assert (len(api.jobs), (tmp_path / "one" / "photo-64.jpg").exists()) == (1, True)
    assert (tmp_path / "two" / "photo-64.jpg").read_bytes() == api.output_bytes("64")


def test_a_failed_job_is_not_sent_again(pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path) -> None:
    api.life = (JobStatus.FAILED,)
    for _ in range(2):
        result, [job] = submit(pixelflow, photo, "--wait", "--manifest", tmp_path / "m")
        assert (result.exit_code, job["error"]["code"]) == (1, "undecodable")
    assert len(api.jobs) == 1


def test_a_manifest_that_is_in_use_is_refused_and_nothing_sent(
    pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path
) -> None:
    with Manifest(tmp_path / "m", api.url):
        result, _ = submit(pixelflow, photo, "--manifest", tmp_path / "m")
        assert (result.exit_code, api.seen) == (2, [])
        assert "another `submit --resume` runs with the same manifest" in result.stderr
    assert submit(pixelflow, photo, "--manifest", tmp_path / "m")[0].exit_code == 0


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "is not a manifest"),
        ("database", "is not a manifest of this version"),
        ("other API", "belong to http://elsewhere.example"),
        ("missing folder", "can't be used as a manifest: No such file"),
    ],
)
def test_a_file_that_is_no_manifest_of_this_api_is_refused_unchanged(
    *, pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path, kind: str, message: str
) -> None:
    path = tmp_path / "missing" / "m" if kind == "missing folder" else tmp_path / "m"
    if kind == "text":
        path.write_text("my notes, which are longer than the header of a database " * 10)
    elif kind == "database":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE mine (id)")
        connection.close()
    elif kind == "other API":
        Manifest(path, "http://elsewhere.example").close()
    before = path.read_bytes() if path.exists() else b""
    result, _ = submit(pixelflow, photo, "--manifest", path)
    assert (result.exit_code, api.seen, message in result.stderr) == (2, [], True), result.stderr
    assert (path.read_bytes() if path.exists() else b"") == before


def test_a_url_is_sent_once_and_the_manifest_is_in_the_current_directory(
    pixelflow: Run, api: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        result, _ = submit(pixelflow, "https://img.example/originals/a17.jpg")
        assert result.exit_code == 0, result.output
    assert (len(api.jobs), (tmp_path / FILE_NAME).exists()) == (1, True)


def test_the_manifest_is_only_for_resume(pixelflow: Run, photo: Path, tmp_path: Path) -> None:
    result = pixelflow("submit", photo, "--resize", "64", "--manifest", tmp_path / "m")
    assert (result.exit_code, "is only for --resume" in result.stderr) == (2, True)
