"""Jobs survive trouble of a worker: storage away, a full disk, signals at odd moments."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.running import (
    PIXELFLOW,
    Running,
    client_of,
    paused,
    process_of,
    servers_alone,
    started,
    transform_children,
    wait_for,
    with_settings,
    worker_role,
)
from tests.support.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.ports import free_port
from tests.support.waiting import assert_within

from pixelflow.devstack.stack import Stack
from pixelflow.devstack.up import pixelflow_roles

JOBS = 12
OUTAGE_SECONDS = 6.0
ONE_ATTEMPT = {"PIXELFLOW_MAX_ATTEMPTS": "1"}
"""If any attempt of an outage counted, its job would fail."""
EXIT_SECONDS = 1.0


@dataclass(frozen=True)
class Worker:
    """Settings and metrics of one worker."""

    settings: Mapping[str, str]
    port: int = dataclasses.field(default_factory=free_port)

    def ready(self) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}/readyz")

    def degraded(self) -> list[str]:
        lines = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text.splitlines()
        return [
            line.split('"')[1] for line in lines if line.startswith("pixelflow_worker_degraded{") and line[-3] == "1"
        ]


@contextlib.contextmanager
def _running(service: Stack, *workers: Worker) -> Iterator[None]:
    """Run these workers, named ``worker0`` and so on."""
    roles = [
        with_settings(
            worker_role(service, f"worker{number}"), {**each.settings, "PIXELFLOW_METRICS_PORT": str(each.port)}
        )
        for number, each in enumerate(workers)
    ]
    with started(service, roles):
        yield


def _jobs(client: httpx.Client, count: int) -> list[str]:
    return [steps.started(client, pictures.photo())["job_id"] for _ in range(count)]


@pytest.fixture(scope="module")
def service() -> Iterator[Stack]:
    """An API and a controller; each test starts workers."""
    with servers_alone() as stack:
        roles = [role for role in pixelflow_roles(stack) if role.name != "worker"]
        stack.start_processes([with_settings(role, ONE_ATTEMPT) for role in roles])
        yield stack


@pytest.fixture
def proxy(service: Stack) -> Iterator[FaultyProxy]:
    endpoint = urlsplit(service.environment["PIXELFLOW_S3_ENDPOINT_URL"])
    assert endpoint.hostname
    assert endpoint.port
    with faulty_proxy((endpoint.hostname, endpoint.port)) as running:
        yield running


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.RESET, Fault.HANG])
def test_a_storage_outage_ends_no_job(service: Stack, proxy: FaultyProxy, fault: Fault) -> None:
    worker = Worker({**ONE_ATTEMPT, "PIXELFLOW_S3_ENDPOINT_URL": f"http://{proxy.address}"})
    with _running(service, worker), client_of(service) as client:
        steps.done(client, pictures.photo())
        wait_for(lambda: worker.ready().status_code == 200, 5)
        proxy.fault = fault
        job_ids = _jobs(client, JOBS)
        if fault is not Fault.HANG:  # a transfer that hangs fails after half a minute only
            wait_for(lambda: worker.ready().status_code == 503, 10)
            assert worker.ready().json()["reasons"] == ["object_storage"]
            assert worker.degraded() == ["object_storage"]
        time.sleep(OUTAGE_SECONDS)
        proxy.fault = Fault.NONE
        jobs = [steps.finished(client, job_id, seconds=60) for job_id in job_ids]
        assert [(job["status"], job["attempts"]) for job in jobs] == [("succeeded", 1)] * JOBS
        assert worker.ready().status_code == 200
        assert worker.degraded() == []


@contextlib.contextmanager
def _small_disk(size: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pixelflow-small-disk-"))
    mount = shutil.which("mount")
    if (
        os.geteuid()
        or not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False).returncode
    ):
        folder.rmdir()
        pytest.skip("mounting a small file system requires root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
        folder.rmdir()


def test_a_worker_with_a_full_disk_leaves_the_jobs_to_a_healthy_one_and_comes_back(service: Stack) -> None:
    with _small_disk("8m") as folder:
        full = {"PIXELFLOW_WORKER_TEMP_DIR": str(folder), "PIXELFLOW_WORKER_MIN_FREE_BYTES": "0"}
        sick = Worker({**ONE_ATTEMPT, **full})
        with _running(service, sick, Worker(ONE_ATTEMPT)), client_of(service) as client:
            with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
                while filler.write(bytes(4096)):
                    pass
            job_ids = _jobs(client, JOBS)
            while not sick.degraded() and len(job_ids) < 10 * JOBS:  # until it has claimed a job
                job_ids += _jobs(client, 1)
            assert sick.ready().json()["reasons"] == ["resources"]
            jobs = [steps.finished(client, job_id, seconds=60) for job_id in job_ids]
            assert {(job["status"], job["attempts"]) for job in jobs} == {("succeeded", 1)}
            (folder / "filler").unlink()
            wait_for(lambda: sick.ready().status_code == 200, 40)


def test_a_worker_with_too_little_space_claims_nothing(service: Stack) -> None:
    sick = Worker({"PIXELFLOW_WORKER_MIN_FREE_BYTES": str(10**15)})
    with _running(service, sick, Worker({})), client_of(service) as client:
        assert sick.ready().json()["reasons"] == ["scratch_bytes"]
        assert steps.done(client, pictures.photo())["status"] == "succeeded"


def test_a_signal_to_a_stopped_worker_is_not_lost(service: Stack) -> None:
    with _running(service, Worker({})):
        with client_of(service) as client:
            steps.done(client, pictures.photo())
        _terminate_stopped(process_of(service, "worker0"))


def test_a_signal_to_a_stopped_controller_is_not_lost(service: Stack) -> None:
    (controller,) = (role for role in pixelflow_roles(service) if role.name == "controller")
    with started(service, [dataclasses.replace(controller, name="controller2")]):
        _terminate_stopped(process_of(service, "controller2"))


def _terminate_stopped(process: Running) -> None:
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT):
        os.kill(process.pid, number)
        time.sleep(0.1)
    wait_for(lambda: not process.alive, EXIT_SECONDS)


def _slow_job(client: httpx.Client, stack: Stack, *, outputs: int) -> str:
    """Start a job that takes some time, and return when its transform runs."""
    slow = [steps.resize(f"s{i}", width=3000, enlarge=True, format="avif") for i in range(outputs)]
    job_id: str = steps.started(client, pictures.noise(800, 600), *slow)["job_id"]
    process = process_of(stack, "worker0")
    wait_for(lambda: any(child.cpu_ticks > 20 for child in transform_children(process)), 20)  # it has a slot
    return job_id


def _press_ctrl_c(pid: int) -> None:
    """Signal the process and those that it started, as a terminal does."""
    assert os.getpgid(pid) == pid
    os.killpg(pid, signal.SIGINT)


@pytest.mark.parametrize("interrupt", [lambda pid: os.kill(pid, signal.SIGTERM), _press_ctrl_c], ids=["term", "ctrl-c"])
def test_a_second_signal_ends_the_grace_period(service: Stack, interrupt: Callable[[int], None]) -> None:
    patient = Worker({"PIXELFLOW_WORKER_GRACE_SECONDS": "60"})
    with _running(service, patient), client_of(service) as client:
        job_id = _slow_job(client, service, outputs=30)
        process = process_of(service, "worker0")
        interrupt(process.pid)
        time.sleep(1.5)
        assert process.alive, "it waits for the job"
        interrupt(process.pid)
        wait_for(lambda: not process.alive, EXIT_SECONDS + 1)
        released = steps.show(client, job_id)
        assert (released["status"], released["attempts"], released["error"]) == ("queued", 0, None)
        assert [(each["outcome"], each["error"]) for each in released["history"]] == [("retried", None)]
        _cancel(client, job_id)


def test_ctrl_c_lets_a_job_in_progress_finish_and_leaves_those_that_wait(service: Stack) -> None:
    patient = Worker({"PIXELFLOW_WORKER_GRACE_SECONDS": "60", "PIXELFLOW_WORKER_MAX_ACTIVE_JOBS": "1"})
    with _running(service, patient), client_of(service) as client:
        job_id = _slow_job(client, service, outputs=3)
        process = process_of(service, "worker0")
        with paused(process.pid):  # it does not end the job meanwhile
            waiting = _jobs(client, 12)
            _press_ctrl_c(process.pid)
        wait_for(lambda: not process.alive, 60)
        finished = steps.show(client, job_id)
        assert (finished["status"], finished["attempts"]) == ("succeeded", 1)
        left = [steps.show(client, each) for each in waiting]
        assert {(job["status"], job["attempts"]) for job in left} <= {("queued", 0), ("succeeded", 1)}
        queued = [job["job_id"] for job in left if job["status"] == "queued"]
        assert queued
        for each in queued:
            _cancel(client, each)


def _cancel(client: httpx.Client, job_id: str) -> None:
    """So that no later worker takes it."""
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200


@pytest.mark.parametrize("path", ["missing", "relative"])
def test_a_scratch_folder_that_can_not_be_used_is_explained(service: Stack, tmp_path: Path, path: str) -> None:
    parent = "somewhere" if path == "relative" else str(tmp_path / "missing")
    environment = {**os.environ, **service.environment, "PIXELFLOW_WORKER_TEMP_DIR": parent}
    environment["PIXELFLOW_METRICS_PORT"] = "0"
    done = subprocess.run(
        [*PIXELFLOW, "worker"], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 78
    assert "PIXELFLOW_WORKER_TEMP_DIR is not valid" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("role", ["worker", "controller"])
def test_a_process_answers_readiness_and_ends_within_a_second_of_its_signal(service: Stack, role: str) -> None:
    port = free_port()
    environment = {**os.environ, **service.environment, "PIXELFLOW_METRICS_PORT": str(port)}
    with subprocess.Popen([*PIXELFLOW, role], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: _status(f"http://127.0.0.1:{port}/readyz") == 200, 20)
            assert _status(f"http://127.0.0.1:{port}/livez") == 200
            began = time.monotonic()
            process.terminate()
            assert process.wait(60) == 0
            assert_within(EXIT_SECONDS, began)
        finally:
            process.kill()


def _status(url: str) -> int | None:
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return None
