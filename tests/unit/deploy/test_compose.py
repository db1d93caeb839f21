"""The compose files are valid, name real settings, give each role what it needs, and let nothing in or out unasked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.images.dockerfile import read

from pixelflow.adapters.postgres.grants import ROLES as GRANTED
from pixelflow.dataplane.worker.resources import DEFAULT_CHILD_MEMORY_BYTES, WORKER_MEMORY_BYTES
from pixelflow.devstack.valkey import CONNECTION, RIGHTS
from pixelflow.settings import PREFIX, DatabaseSettings, Settings

ROOT = Path(__file__).parents[3]
FILES = ("docker-compose.yml", "docker-compose.minio.yml")
OURS = ("api", "controller", "worker", "migrate", "bucket")
ROLES = ("api", "controller", "worker")


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return found


SERVICES: dict[str, dict[str, Any]] = load("docker-compose.yml")["services"]
THEIRS = [name for name in SERVICES if name not in OURS]
KNOWN = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", FILES)
def test_a_compose_file_is_one_by_the_schema(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", FILES)
def test_every_variable_that_is_named_is_a_setting(name: str) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z0-9_]+", (ROOT / name).read_text(encoding="utf-8")))
    assert named <= KNOWN


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_given_every_setting_that_must_be_set(role: str) -> None:
    required = {f"{PREFIX}{name.upper()}" for name, field in Settings.model_fields.items() if field.is_required()}
    assert required <= SERVICES[role]["environment"].keys()


def test_the_migration_is_given_the_database_and_nothing_else() -> None:
    assert SERVICES["migrate"]["environment"].keys() == {
        f"{PREFIX}{name.upper()}" for name in DatabaseSettings.model_fields
    }


def test_what_makes_the_policies_has_the_prefix_of_the_processes() -> None:
    files = SERVICES["bucket"]["env_file"]
    assert files == [{"path": "pixelflow.env", "required": False}]
    assert [SERVICES[role]["env_file"] for role in ("api", "controller", "worker")] == [files] * 3


def test_workers_are_not_given_the_key_of_sealed_secrets() -> None:
    secret = f"{PREFIX}SECRETS_KEY"
    assert [role for role in SERVICES if secret in SERVICES[role].get("environment", {})] == ["api", "controller"]


def test_who_signs_urls_knows_the_name_by_which_clients_reach_storage() -> None:
    for role in ("api", "controller"):  # the dispatcher's events contain download URLs too
        environment = SERVICES[role]["environment"]
        assert environment[f"{PREFIX}S3_ENDPOINT_URL"] == "http://s3:9000"
        assert environment[f"{PREFIX}S3_PUBLIC_ENDPOINT_URL"].endswith(":-http://localhost:9000}")


def test_the_worker_is_given_memory_for_a_large_picture() -> None:
    limit = int(SERVICES["worker"]["deploy"]["resources"]["limits"]["memory"].removesuffix("g")) * 2**30
    assert limit > DEFAULT_CHILD_MEMORY_BYTES + WORKER_MEMORY_BYTES


def test_workers_are_given_longer_to_stop_than_they_take() -> None:
    grace = float(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace >= Settings.model_fields["worker_grace_seconds"].default + 5


# ── Secrets ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", FILES)
def test_no_secret_has_a_default(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|KEY)\w*)(.*?)\}", text)
    assert secrets
    assert {rest for _, rest in secrets} == {":?run deploy/write-env first"}


def test_every_secret_that_is_asked_for_is_written_by_the_script() -> None:
    asked = {
        match for name in FILES for match in re.findall(r"\$\{(\w+):\?", (ROOT / name).read_text(encoding="utf-8"))
    }
    assert asked == set(re.findall(r"^([A-Z0-9_]+)=\w*\$\(", (ROOT / "deploy" / "write-env").read_text(), re.MULTILINE))


def test_the_defaults_documented_in_the_script_are_those_of_the_compose_file() -> None:
    defined = re.findall(r"^# (\w+)=(\S+)$", (ROOT / "deploy" / "write-env").read_text(encoding="utf-8"), re.MULTILINE)
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    assert {name: value for name, value in defined if name != "OTEL_TRACES_EXPORTER"}.items() <= defaults.items()
    assert "OTEL_TRACES_EXPORTER" in defaults


# ── Least privilege ──────────────────────────────────────────────────────────────────────────────

CREDENTIALS = ("DATABASE_URL", "REDIS_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
POLICIES = ROOT / "deploy" / "s3" / "policies"


def secrets_of(service: str) -> set[str]:
    return set(re.findall(r"\$\{(\w+):\?", str(SERVICES[service].get("environment", {}))))


@pytest.mark.parametrize("role", ROLES)
def test_each_process_has_only_its_own_credentials(role: str) -> None:
    own = {f"{server}_{role.upper()}_PASSWORD" for server in ("POSTGRES", "REDIS")}
    own |= {f"S3_{role.upper()}_{key}" for key in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")}
    assert secrets_of(role) - {f"{PREFIX}SECRETS_KEY"} == own
    assert all(f"{PREFIX}{name}" in SERVICES[role]["environment"] for name in CREDENTIALS)
    assert f"//pixelflow_{role}:" in SERVICES[role]["environment"][f"{PREFIX}DATABASE_URL"]


def test_only_the_migration_is_the_owner_of_the_database() -> None:
    assert [name for name in OURS if "POSTGRES_PASSWORD" in secrets_of(name)] == ["migrate"]
    assert [name for name in OURS if "S3_ADMIN_SECRET_ACCESS_KEY" in secrets_of(name)] == ["bucket"]
    assert [name for name in OURS if "REDIS_PASSWORD" in secrets_of(name)] == []


def test_the_administration_of_storage_is_not_published() -> None:
    assert SERVICES["s3"]["environment"]["VGW_ADMIN_PORT"] == ":9001"
    assert not [port for port in SERVICES["s3"]["ports"] if "9001" in port]


def test_the_users_of_valkey_have_the_rights_that_are_tested_in_the_dev_stack() -> None:
    users = re.findall(r"^user (\w+) on >\S+ (.*)$", SERVICES["valkey"]["command"][-1], re.MULTILINE)
    assert dict(users) == {role: f"{CONNECTION} {rights}".strip() for role, rights in RIGHTS.items()}


def test_the_roles_of_postgres_are_those_of_the_grants() -> None:
    script = (ROOT / "deploy" / "postgres" / "make-roles.sh").read_text(encoding="utf-8")
    assert set(re.findall(r"CREATE ROLE (\w+)", script)) == {"pixelflow", *(path.stem for path in GRANTED.iterdir())}


def test_each_process_has_a_policy_of_storage_without_wildcard_actions() -> None:
    policies = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in POLICIES.iterdir()}
    assert policies.keys() == set(ROLES)
    actions = {
        role: {
            action
            for each in policy["Statement"]
            for action in (each["Action"] if isinstance(each["Action"], list) else [each["Action"]])
        }
        for role, policy in policies.items()
    }
    assert not any("*" in action for each in actions.values() for action in each)
    deletes = {
        role: each["Resource"]
        for role, policy in policies.items()
        for each in policy["Statement"]
        if "s3:DeleteObject" in each["Action"]
    }
    assert deletes.keys() == {"api", "controller"}
    assert deletes["api"] == "arn:aws:s3:::pixelflow/uploads/*", "where it can overwrite, too"


# ── Confinement ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} == service["deploy"]["resources"]["limits"].keys()
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "container_name"} & service.keys()


def test_a_worker_is_on_no_network_that_leads_in_or_out() -> None:
    assert SERVICES["worker"]["networks"] == ["inside"]
    assert load("docker-compose.yml")["networks"]["inside"] == {"internal": True}
    assert "ports" not in SERVICES["worker"]


def test_nothing_listens_for_the_world_unless_it_is_configured_to() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(re.fullmatch(r"\$\{\w+_ADDRESS:-127\.0\.0\.1:\d+\}:\d+", port) for port in ports)


def test_no_two_containers_want_the_same_port_of_the_machine() -> None:
    ports = [port.partition(":-")[2] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len({port.partition("}")[0] for port in ports}) == len(ports)


# ── Parts ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", THEIRS)
def test_the_images_of_others_are_pinned_to_a_release_and_its_digest(name: str) -> None:
    assert re.fullmatch(r"[a-z./-]+:v?\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}", SERVICES[name]["image"])


def test_minio_is_the_last_image_of_its_community_edition() -> None:
    services = load("docker-compose.minio.yml")["services"].values()
    [(image, digest)] = {tuple(service["image"].split("@sha256:")) for service in services}
    assert image == "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
    assert re.fullmatch("[0-9a-f]{64}", digest)


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in {"migrate", "bucket", "otel-collector"}])
def test_everything_that_goes_on_has_a_health_check(name: str) -> None:
    image_has_one = name in {"api", "worker"}
    assert image_has_one or "test" in SERVICES[name]["healthcheck"]


@pytest.mark.parametrize(("role", "path"), [("api", "/healthz"), ("controller", "/livez"), ("worker", "/livez")])
def test_a_health_check_is_one_of_liveness(role: str, path: str) -> None:
    """A container that is restarted because a dependency is unavailable gains nothing."""
    service = SERVICES[role]
    image = read(ROOT / service["build"]["dockerfile"])[-1]
    check = service.get("healthcheck", {}).get("test", image.health_check)
    assert check[-1] == path


@pytest.mark.parametrize("role", ROLES)
def test_no_role_starts_before_what_it_needs(role: str) -> None:
    assert SERVICES[role]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "bucket": {"condition": "service_completed_successfully"},
        "valkey": {"condition": "service_healthy"},
    }


def test_what_watches_starts_only_when_asked_for() -> None:
    profiled = [name for name, service in SERVICES.items() if service.get("profiles") == ["observability"]]
    assert profiled == ["prometheus", "grafana", "otel-collector"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_file_that_is_mounted_is_in_the_repository(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.partition(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists(), source


def test_prometheus_asks_each_role_where_it_answers() -> None:
    jobs = load("deploy/prometheus/prometheus.yml")["scrape_configs"]
    asked = {
        name: config["port"] for job in jobs for config in job.get("dns_sd_configs", []) for name in config["names"]
    }
    assert asked == {"api": 9090, "worker": 9091, "controller": 9092}
