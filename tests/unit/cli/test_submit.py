"""``pixelflow submit``: its requests, its output and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import eventually
from tests.unit.client.stand_in import DROP, KEY, Fault, StandIn
from typer.testing import Result

from pixelflow.cli.commands import submit
from pixelflow.client.retries import MAX_ATTEMPTS
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS

Run = Callable[..., Result]


def sent_pipeline(api: StandIn) -> list[dict[str, Any]]:
    """The pipeline in the request that created the first job."""
    body = json.loads(next(seen.body for seen in api.seen if seen.path == "/v1/jobs"))
    steps: list[dict[str, Any]] = body["pipeline"]
    return steps


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (["--resize", "640"], [{"id": "640", "action": "resize", "width": 640}]),
        (
            ["--resize", "640x480", "--format", "webp", "--quality", "80"],
            [{"id": "640x480", "action": "resize", "width": 640, "height": 480, "format": "webp", "quality": 80}],
        ),
        (["--watermark", "© Me"], [{"id": "marked", "action": "watermark", "watermark": {"text": "© Me"}}]),
        (["--format", "avif"], [{"id": "converted", "action": "convert", "format": "avif"}]),
        (
            ["--resize", "640", "--watermark", "© Me", "--format", "png"],
            [
                {"id": "resized", "action": "resize", "output": False, "width": 640},
                {
                    "id": "640-marked", "from": "resized", "action": "watermark", "watermark": {"text": "© Me"},
                    "format": "png",
                },
            ],
        ),
    ],
    ids=["width", "box", "watermark", "format", "resize and watermark"],
)  # fmt: skip
def test_options_make_a_pipeline_of_one_output(
    pixelflow: Run, api: StandIn, photo: Path, options: list[str], steps: list[dict[str, Any]]
) -> None:
    assert pixelflow("submit", photo, *options).exit_code == 0
    assert sent_pipeline(api) == steps


def test_every_job_gets_the_webhook_url_and_the_metadata(pixelflow: Run, api: StandIn, photo: Path) -> None:
    options = ["--webhook-url", "https://client.example/", "--metadata", "sku=A-17", "--metadata", "note=a=b"]
    assert pixelflow("submit", photo, "--resize", "64", *options).exit_code == 0
    body = json.loads(next(seen.body for seen in api.seen if seen.path == "/v1/jobs"))
    assert (body["webhook_url"], body["metadata"]) == (
        "https://client.example/",
        {"filename": "photo.jpg", "sku": "A-17", "note": "a=b"},
    )


def test_options_of_the_source_are_sent(pixelflow: Run, api: StandIn, photo: Path) -> None:
    options = ["--frame", "2", "--density", "300", "--on-damage", "accept"]
    assert pixelflow("submit", photo, "--resize", "64", *options).exit_code == 0
    body = json.loads(next(seen.body for seen in api.seen if seen.path == "/v1/jobs"))
    assert body["source"] | {"frame": 2, "density": 300, "on_damage": "accept"} == body["source"]


def test_a_url_is_sent_and_nothing_is_uploaded(pixelflow: Run, api: StandIn) -> None:
    url = "https://img.example/originals/a17.jpg?token=s3cr3t"
    done = pixelflow("submit", url, "--resize", "64")
    assert done.exit_code == 0, done.output
    body = json.loads(next(seen.body for seen in api.seen if seen.path == "/v1/jobs"))
    assert body["source"]["url"] == url
    assert not [seen for seen in api.seen if seen.method == "PUT"]
    assert "a17.jpg" in done.output
    assert "s3cr3t" not in done.output


def test_what_is_neither_a_file_nor_a_url_is_refused(pixelflow: Run, api: StandIn, tmp_path: Path) -> None:
    for argument, message in (
        (tmp_path / "missing.jpg", "does not exist"),
        ("/dev/null", "not a file"),
        ("ftp://a/b.jpg", "only https"),
    ):
        done = pixelflow("submit", argument, "--resize", "64")
        assert done.exit_code == 2
        assert message in " ".join(done.output.split())
    assert not api.seen


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pipeline_may_come_from_a_file(
    pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path, wrapped: bool
) -> None:
    steps = [{"id": "a", "action": "resize", "width": 9}, {"id": "b", "action": "resize", "height": 9}]
    file = tmp_path / "pipeline.json"
    file.write_text(json.dumps({"pipeline": steps} if wrapped else steps))
    assert pixelflow("submit", photo, "--pipeline", file).exit_code == 0
    assert sent_pipeline(api) == steps


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not valid JSON"),
        ("[1]", "must contain a list of steps"),
        ('{"pipeline": [], "metadata": {}}', "must contain a list of steps, or an object with only"),
        ("[" * 100_000, "is not valid JSON"),
        (" " * 2_000_000, "is larger than 1 MiB"),
        ('[{"id": "a", "action": "resize", "width": 0}]', "/pipeline/0/width"),
        ('[{"id": "../a", "action": "resize", "width": 1}]', "/pipeline/0/id"),
        ("[]", "/pipeline"),
    ],
    ids=lambda value: value[:20],
)
def test_an_invalid_pipeline_file_exits_with_2_and_sends_nothing(
    *, pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "pipeline.json"
    file.write_text(content)
    result = pixelflow("submit", photo, "--pipeline", file)
    assert (result.exit_code, api.seen) == (2, [])
    assert message in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--resize", "640", "--pipeline", "FILE"],
        ["--quality", "80", "--pipeline", "FILE"],
        ["--quality", "101"],
        ["--format", "bmp"],
        ["--resize", "0"],
        ["--resize", "99999999999"],
        ["--resize", "640x"],
        ["--resize", "-1"],
        ["--watermark", ""],
        ["--resize", "64", "--metadata", "sku"],
        ["--resize", "64", "--webhook-url", "ftp://client.example/"],
        [],
    ],
    ids=" ".join,
)
def test_an_invalid_command_line_exits_with_2_and_sends_nothing(
    pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path, options: list[str]
) -> None:
    file = tmp_path / "p.json"
    file.write_text("[]")
    result = pixelflow("submit", photo, *[str(file) if option == "FILE" else option for option in options])
    assert (result.exit_code, result.stdout, api.seen) == (2, "", [])
    assert result.stderr


def test_help_lists_every_format(pixelflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = pixelflow("submit", "--help").stdout
    assert [format_ for format_ in OUTPUT_FORMATS if format_ not in text] == []


def test_without_waiting_the_started_jobs_are_listed(pixelflow: Run, api: StandIn, photo: Path) -> None:
    result = pixelflow("submit", photo, "--resize", "64")
    assert result.exit_code == 0
    [job_id] = api.jobs
    assert str(job_id) in result.stdout
    assert api.count("GET") == 0


def test_out_waits_and_names_each_download_after_photo_and_step(
    pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made" / "here"
    result = pixelflow("submit", photo, "--resize", "64", "--format", "webp", "--out", out)
    assert result.exit_code == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"photo-64.webp": api.output_bytes("64")}
    assert str(out / "photo-64.webp") in result.stdout
    assert ("Change" in result.stdout, "\N{MINUS SIGN}80 %" in result.stdout) == (True, True)


@pytest.mark.usefixtures("api")
def test_photos_with_the_same_name_never_overwrite_each_other(pixelflow: Run, tmp_path: Path) -> None:
    photos = [tmp_path / name for name in ("a/x.jpg", "b/x.png", "c/X.jpg", "c/x-2.jpg")]
    for path in photos:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(str(path).encode())
    result = pixelflow("submit", *photos, "--resize", "64", "--out", tmp_path / "out", "--json")
    jobs = json.loads(result.stdout)["jobs"]
    assert [job["photo"] for job in jobs] == [str(path) for path in photos]
    names = [Path(job["outputs"][0]["path"]).name for job in jobs]
    assert names == ["x-64.jpg", "x-2-64.jpg", "X-3-64.jpg", "x-2-2-64.jpg"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)


@pytest.mark.usefixtures("api")
def test_outputs_in_the_folder_of_the_photos_never_replace_a_photo(pixelflow: Run, tmp_path: Path) -> None:
    photos = [tmp_path / "x.jpg", tmp_path / "x-64.jpg"]
    for path in photos:
        path.write_bytes(path.name.encode())
    assert pixelflow("submit", *photos, "--resize", "64", "--out", tmp_path).exit_code == 0
    assert [path.read_bytes() for path in photos] == [b"x.jpg", b"x-64.jpg"]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.usefixtures("api")
def test_json_is_the_only_output_on_stdout(pixelflow: Run, photo: Path, tmp_path: Path) -> None:
    result = pixelflow("submit", photo, "--resize", "64", "--out", tmp_path / "out", "--json")
    [job] = json.loads(result.stdout)["jobs"]
    assert (job["photo"], job["status"], job["error"]) == (str(photo), "succeeded", None)
    assert job["outputs"][0]["path"] == str(tmp_path / "out" / "photo-64.jpg")


@pytest.mark.usefixtures("api")
def test_a_photo_that_fails_does_not_stop_the_others(pixelflow: Run, photo: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    result = pixelflow("submit", empty, photo, "--resize", "64", "--wait", "--json")
    assert [job["status"] for job in json.loads(result.stdout)["jobs"]] == ["not_sent", "succeeded"]
    assert (result.exit_code, result.stderr) == (1, f"Error: {empty}: {empty} is empty\n")


def test_a_photo_that_vanishes_before_it_is_sent_does_not_stop_the_others(
    pixelflow: Run, api: StandIn, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = photo.with_name("gone.jpg")
    gone.write_bytes(photo.read_bytes())
    find = submit._find_photos

    def then_delete(*arguments: Any) -> Any:  # noqa: ANN401 - those of the function
        found = find(*arguments)
        gone.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(submit, "_find_photos", then_delete)
    result = pixelflow("submit", gone, photo, "--resize", "64")
    assert (result.exit_code, len(api.jobs)) == (1, 1), result.output
    assert "gone.jpg is not a file" in result.stderr


def test_a_photo_that_the_api_refuses_does_not_stop_the_others(pixelflow: Run, api: StandIn, photo: Path) -> None:
    problem = {
        "type": "t", "title": "t", "status": 422, "detail": "Too large", "code": "validation_failed", "request_id": "r"
    }  # fmt: skip
    api.fail("create", Fault(422, body=json.dumps(problem).encode()))
    result = pixelflow("submit", *[photo] * 20, "--resize", "64", "--wait", "--json")
    statuses = [job["status"] for job in json.loads(result.stdout)["jobs"]]
    assert (result.exit_code, sorted(set(statuses)), statuses.count("succeeded")) == (4, ["not_sent", "succeeded"], 19)


@pytest.mark.parametrize(
    ("route", "fault", "code", "message"),
    [
        ("create", DROP, 3, "closed the connection"),
        ("create", Fault(500), 3, "500 unexpected_answer"),
        ("create", Fault(200, body=b"<html>"), 3, "200 unexpected_answer"),
        (
            "put",
            Fault(403, body=b"<Code>AccessDenied</Code>"),
            1,
            "Object storage rejected the upload: 403 AccessDenied",
        ),
        ("download", Fault(404), 1, "Object storage rejected the download: 404"),
    ],
    ids=str,
)
def test_the_exit_code_depends_on_the_error(
    *, pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path, route: str, fault: Fault, code: int, message: str
) -> None:
    api.fail(route, *[fault] * MAX_ATTEMPTS)
    result = pixelflow("submit", photo, "--resize", "64", "--out", tmp_path / "out")
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert "Traceback" not in result.output


def test_a_failed_job_exits_with_1_and_its_error(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.QUEUED, JobStatus.FAILED)
    result = pixelflow("submit", photo, "--resize", "64", "--wait", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["jobs"][0]["error"]["code"] == "undecodable"
    assert "The source is damaged (undecodable)" in result.stderr


def test_a_job_that_times_out_exits_with_5(pixelflow: Run, api: StandIn, photo: Path) -> None:
    api.life = (JobStatus.PROCESSING,)
    result = pixelflow("submit", photo, "--resize", "64", "--wait", "--timeout", "0.1")
    assert (result.exit_code, "is still processing after 0.1 s" in result.stderr) == (5, True)


def test_an_error_that_is_fatal_for_the_batch_stops_it_and_is_printed_once(
    pixelflow: Run, api: StandIn, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELFLOW_API_KEY", "pf_other_key")
    result = pixelflow("submit", *[photo] * 30, "--resize", "64")
    assert result.exit_code == 4
    assert result.stderr.count("401 unauthenticated") == 1
    assert "more not sent" in result.stderr
    assert api.count("POST") < 30
    assert "pf_other_key" not in result.output


def test_every_invalid_field_is_printed_with_the_request_id(pixelflow: Run, api: StandIn, photo: Path) -> None:
    problem = {
        "type": "t", "title": "t", "status": 422, "detail": "Not so", "code": "validation_failed", "request_id": "r-9",
        "errors": [{"pointer": "/a", "message": "one"}, {"pointer": "/b", "message": "two\x1b[31m"}],
    }  # fmt: skip
    api.fail("create", Fault(422, body=json.dumps(problem).encode()))
    result = pixelflow("submit", photo, "--resize", "64")
    assert result.exit_code == 4
    assert result.stderr.splitlines() == [
        f"Error: {photo}: Not so (422 validation_failed)", "  /a: one",
        "  /b: two\N{REPLACEMENT CHARACTER}[31m",
        "  request r-9",
    ]  # fmt: skip


@pytest.mark.usefixtures("api")
def test_a_file_name_cannot_control_the_terminal(pixelflow: Run, tmp_path: Path) -> None:
    photo = tmp_path / "a\x1b]0;owned\x07[red]\udcff.jpg"
    photo.write_bytes(b"pixels")
    result = pixelflow("submit", photo, "--resize", "64", "--out", tmp_path / "out")
    assert (result.exit_code, "\x1b" in result.output, "[red]" in result.output) == (0, False, True)


def test_a_response_cannot_choose_where_a_file_is_written(
    pixelflow: Run, api: StandIn, photo: Path, tmp_path: Path
) -> None:
    api.rename_output = "../../owned"
    result = pixelflow("submit", photo, "--resize", "64", "--out", tmp_path / "a" / "out")
    assert (result.exit_code, "an output that no step asked for" in result.stderr) == (1, True)
    assert list(tmp_path.rglob("*owned*")) == []


def test_ctrl_c_exits_with_130_and_leaves_no_partial_file_and_the_jobs_running(
    api: StandIn, photo: Path, tmp_path: Path
) -> None:
    api.life = (JobStatus.PROCESSING,)
    command = [
        sys.executable,
        "-m",
        "pixelflow",
        "submit",
        str(photo),
        "--resize",
        "64",
        "--out",
        str(tmp_path / "out"),
    ]
    environment = os.environ | {"PIXELFLOW_API_URL": api.url, "PIXELFLOW_API_KEY": KEY}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            eventually(lambda: api.count("GET"))
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "Started jobs keep running" in errors
    assert api.count("POST", "/cancel") == 0
    assert list((tmp_path / "out").iterdir()) == []
