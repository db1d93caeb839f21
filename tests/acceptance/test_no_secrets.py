"""No secret is where it can be read: not in logs, not at level debug; not in problems, tables, the queue or ``ps``.

Real traffic of all kinds first, as much of it failing as not; then everything that was written is searched.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures, places
from tests.acceptance.running import (
    LOCAL_URL_SOURCES,
    client_of,
    database_url,
    paused,
    process_of,
    service_with,
    wait_for,
)
from tests.support.image_server import redirect, response, serving
from tests.support.webhook_receiver import Receiver, Reply, receiving

from pixelflow.adapters.postgres.database import AsyncDatabase, Database
from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.adapters.wakeup import KEY, PAUSE_SECONDS, WakeUpSender
from pixelflow.client import AsyncClient, Client
from pixelflow.contracts.jobs.responses import CreatedJob, Job
from pixelflow.contracts.keys import CreatedKey
from pixelflow.contracts.webhooks import RotatedSecret
from pixelflow.controlplane.encryption import SecretCipher
from pixelflow.controlplane.idempotency.calls import StoredResponse
from pixelflow.controlplane.keys.store import ValidKey
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings

LOUD = {
    "PIXELFLOW_LOG_LEVEL": "debug",
    "PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
    "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true",
    **LOCAL_URL_SOURCES,
}

CREATE = {"source": {"content_length": len(pictures.photo())}, "pipeline": [steps.resize()]}
LOOKS_SECRET = re.compile(rb"X-Amz-Signature=[0-9a-f]{8}|whsec_[\w+/]{16}|pf_[0-9a-f]{12}_[\w-]{16}|Bearer [\w.-]{8}")


@dataclass
class Traffic:
    """What a client has done, and what it knows by then that nobody else may."""

    stack: Stack
    client: httpx.Client
    receiver: Receiver
    secrets: dict[str, str]
    problems: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    """Of requests whose answers hold secrets, for ``repr`` of what is made of them."""

    def ask(self, method: str, path: str, *, expected: int, **options: object) -> httpx.Response:
        """A request to the API."""
        answer = self.client.request(method, path, **options)  # type: ignore[arg-type]
        assert answer.status_code == expected, answer.text
        if expected >= 400:
            assert answer.headers["Content-Type"] == "application/problem+json"
            self.problems.append(answer.text)
        self.note_signatures(answer.text)
        return answer

    def note_signatures(self, text: str) -> None:
        """Keep every signature of a URL in ``text`` as the secret that it is."""
        for signature in re.findall(r"X-Amz-Signature=([0-9a-f]{64})", text):
            self.secrets[f"signature {signature[:6]}"] = signature

    def twice(self, path: str, *, expected: int, **options: object) -> httpx.Response:
        """A POST, and the same again under the same key."""
        headers = {"Idempotency-Key": str(uuid4())}
        first, again = (self.ask("POST", path, expected=expected, headers=headers, **options) for _ in range(2))
        assert again.headers["Idempotent-Replayed"] == "true"
        return first

    def job(self, source: bytes, *, ends: str) -> dict[str, object]:
        """A job from its creation to its end and to the receiver's hearing of it."""
        heard = len(self.receiver.received)
        declared = {"content_length": len(source)}
        request = {"source": declared, "pipeline": [steps.resize()], "webhook_url": self.receiver.url}
        created = self.twice("/v1/jobs", expected=202, json=request)
        steps.upload(created.json(), source)
        self.twice(created.json()["start_url"], expected=202)
        job = steps.finished(self.client, created.json()["job_id"])
        assert job["status"] == ends
        wait_for(lambda: len(self.receiver.received) > heard, 10)
        self.note_signatures(self.receiver.received[-1].body.decode())
        self.note_signatures(json.dumps(job))
        self.answers |= {"created": created.text, ends: json.dumps(job)}
        return job


def _secrets_shown_once(traffic: Traffic) -> None:
    secret = traffic.twice("/v1/webhook-secret/rotate", expected=200)
    key = traffic.twice("/v1/keys", expected=201, json={"name": "n", "scopes": ["jobs:read"]})
    traffic.secrets["webhook secret"] = secret.json()["secret"].removeprefix("whsec_")
    traffic.secrets["bytes of the webhook secret"] = base64.b64decode(traffic.secrets["webhook secret"]).hex()
    traffic.secrets["made key"] = key.json()["key"].split("_", 2)[2]
    traffic.answers |= {"secret": secret.text, "key": key.text}


def _jobs(traffic: Traffic) -> None:
    traffic.job(pictures.photo(), ends="succeeded")
    failed = traffic.job(b"no picture at all", ends="failed")
    traffic.twice(f"/v1/jobs/{failed['job_id']}/retry", expected=202)
    steps.finished(traffic.client, str(failed["job_id"]))
    traffic.ask("DELETE", f"/v1/jobs/{failed['job_id']}", expected=204)


def _urls(traffic: Traffic) -> None:
    """Sources by URL, whose queries hold tokens; the database has them until the job is erased."""
    traffic.secrets["in the URL of a source"] = "hush-in-a-source-url"
    photo = {"/photo": response(pictures.photo()), "/moved": redirect("http://10.0.0.1/?hush-in-a-source-url")}
    with serving(photo) as server:
        for path, ends in (("photo", "succeeded"), ("missing", "failed"), ("moved", "failed")):
            source = {"url": f"{server.url}/{path}?token=hush-in-a-source-url"}
            request = {"source": source, "pipeline": [steps.resize()], "auto_start": True}
            created = traffic.twice("/v1/jobs", expected=202, json=request).json()
            job = steps.finished(traffic.client, created["job_id"])
            assert job["status"] == ends, job
            assert "hush" not in json.dumps(job)
            traffic.ask("DELETE", f"/v1/jobs/{created['job_id']}", expected=204)
        url = f"{server.url.replace('http:', 'ftp:')}/?hush-in-a-source-url"
        traffic.ask("POST", "/v1/jobs", expected=422, json={"pipeline": [steps.resize()], "source": {"url": url}})


def _refusals(traffic: Traffic) -> None:
    """What a client sends by mistake is a secret all the same."""
    shown = "_".join(traffic.client.headers["Authorization"].split("_", 2)[:2])
    for name, credential in {
        "wrong secret": f"{shown}_{'w' * 20}wrong",
        "no such key": f"Bearer pf_{'0' * 12}_{'n' * 20}nokey",
        "token": f"Bearer {'e' * 20}.token.{'f' * 20}",
        "basic": f"Basic {'dXNlcjpwYXNz' * 3}",
    }.items():
        traffic.secrets[name] = credential.split(" ")[1].split("_", 2)[-1]
        traffic.ask("GET", "/v1/jobs", expected=401, headers={"Authorization": credential})
    traffic.secrets["in a webhook's URL"] = "hush-in-a-url"
    url = "https://user:hush-in-a-url@client.example/"
    traffic.ask("POST", "/v1/jobs", expected=422, json={"pipeline": [steps.resize()], "webhook_url": url})
    traffic.secrets["in a body that is none"] = "hush-in-a-body"
    json_type = {"Content-Type": "application/json"}
    traffic.ask("POST", "/v1/jobs", expected=400, content=b'{"password": "hush-in-a-body"', headers=json_type)
    traffic.ask("POST", "/v1/jobs", expected=422, json={"pipeline": [], "password": "hush-in-a-body"})
    traffic.ask("GET", f"/v1/jobs/{uuid4()}", expected=404)


def _refused_by_storage(traffic: Traffic) -> None:
    created = traffic.ask("POST", "/v1/jobs", expected=202, json=CREATE).json()
    url = created["upload"]["presigned_put_url"]
    signature = parse_qs(urlsplit(url).query)["X-Amz-Signature"][0]
    assert httpx.put(url.replace(signature, signature[::-1]), content=pictures.photo()).status_code == 403
    traffic.ask("POST", created["start_url"], expected=409)


@contextmanager
def _hanging(stack: Stack, name: str) -> Iterator[None]:
    with paused(process_of(stack, name).pid):
        yield


def _outages(traffic: Traffic) -> None:
    """Errors of libraries often quote the address that they could not reach."""
    created = traffic.ask("POST", "/v1/jobs", expected=202, json=CREATE).json()
    steps.upload(created, pictures.photo())
    with _hanging(traffic.stack, "s3"):
        traffic.ask("POST", created["start_url"], expected=503)
    with _hanging(traffic.stack, "valkey"):
        traffic.ask("POST", created["start_url"], expected=202)
    steps.finished(traffic.client, created["job_id"])


@contextmanager
def _a_message_on_the_queue(traffic: Traffic) -> Iterator[None]:
    """The worker receives it only afterwards. It was waiting for another, which Redis gives to it at once."""
    jobs = [traffic.ask("POST", "/v1/jobs", expected=202, json=CREATE).json() for _ in range(5)]
    for created in jobs:
        steps.upload(created, pictures.photo())
    with (
        _hanging(traffic.stack, "worker"),
        redis.Redis.from_url(traffic.stack.environment["PIXELFLOW_REDIS_URL"]) as client,
    ):
        for created in jobs:
            traffic.ask("POST", created["start_url"], expected=202)
            if client.exists(KEY):
                break
            time.sleep(PAUSE_SECONDS)  # a busy machine may have missed the sender's timeout
        yield
    steps.finished(traffic.client, jobs[0]["job_id"])


@pytest.fixture(scope="module")
def traffic() -> Iterator[Traffic]:
    """A service that logs all it can, after all that."""
    with service_with(LOUD) as stack, client_of(stack) as client, receiving(Reply(500), Reply()) as receiver:
        secrets = places.secrets_of(stack) | {"API key": client.headers["Authorization"].split("_", 2)[2]}
        made = Traffic(stack, client, receiver, secrets)
        for act in (_secrets_shown_once, _jobs, _urls, _refusals, _refused_by_storage, _outages):
            act(made)
        yield made


def test_nothing_that_the_service_writes_contains_a_secret(traffic: Traffic) -> None:
    with _a_message_on_the_queue(traffic):
        found = places.everywhere(traffic.stack)
    # What shows that the places are the right ones, and not empty.
    succeeded = json.loads(traffic.answers["succeeded"])["job_id"].encode()
    for place in ("log api", "log worker", "log controller", "table jobs", "table usage_logs"):
        assert succeeded in found[f"{place}.log" if place.startswith("log") else place], place
    assert b"pixelflow.process_image" in found[f"redis {KEY}"]
    assert any(place.startswith("environment of child") and content for place, content in found.items())
    assert places.leaks(traffic.secrets, found) == set()


def test_the_service_of_the_other_tests_logs_no_secret(service: Stack) -> None:
    with client_of(service) as client:
        steps.done(client, pictures.photo())
    logs = places.logs(service)
    assert places.leaks(places.secrets_of(service), logs) == set()
    assert {place for place, content in logs.items() if LOOKS_SECRET.search(content)} == set()


def test_no_problem_contains_a_secret(traffic: Traffic) -> None:
    codes = {json.loads(problem)["code"] for problem in traffic.problems}
    assert codes >= {"unauthenticated", "malformed_request", "validation_failed", "not_found", "source_missing"}
    assert codes >= {"objects_unavailable"}
    assert places.leaks(traffic.secrets, {"problems": "".join(traffic.problems).encode()}) == set()


def test_no_repr_contains_a_secret(traffic: Traffic) -> None:
    environment = traffic.stack.environment
    values = {name.removeprefix("PIXELFLOW_").lower(): value for name, value in environment.items()}
    settings = Settings.model_validate(values)
    url, redis_url = environment["PIXELFLOW_DATABASE_URL"], environment["PIXELFLOW_REDIS_URL"]
    key = traffic.client.headers["Authorization"].removeprefix("Bearer ")
    objects = ObjectStorage(settings)
    signed = objects.sign_upload("k", content_length=1, content_type=None, seconds=60)
    traffic.note_signatures(signed.url)
    with Client(traffic.stack.api_url, key) as client:
        holders = [
            *(settings, objects, signed, client, AsyncClient(traffic.stack.api_url, key), WakeUpSender(redis_url)),
            *(
                AsyncDatabase(url, max_connections=1, application="t"),
                Database(url, max_connections=1, application="t"),
            ),
            *(
                SecretCipher(settings.require_secrets_keys()),
                ValidKey("k", "u", key.encode(), [], last_use_is_stale=False, rate_limit=None, rate_limit_key=None),
            ),
            *(
                StoredResponse(200, traffic.answers["key"].encode()),
                RotatedSecret.model_validate_json(traffic.answers["secret"]),
            ),
            *(CreatedKey.model_validate_json(traffic.answers["key"]), traffic.stack),
            *(
                CreatedJob.model_validate_json(traffic.answers["created"]),
                Job.model_validate_json(traffic.answers["succeeded"]),
            ),
        ]
        shown = {
            f"{show.__name__} of {type(held).__name__}": show(held).encode() for held in holders for show in (repr, str)
        }
    assert places.leaks(traffic.secrets, shown) == set()


def _plant(stack: Stack, secret: str) -> None:
    with (stack.home.path / "logs" / "api.log").open("a") as log:
        log.write(json.dumps({"event": "connecting", "url": f"redis://:{secret}@host"}) + "\n")
    with psycopg.connect(database_url(stack), options="-c pixelflow.tenant_scope=everyone") as connection:
        connection.execute(
            "INSERT INTO webhook_secrets (secret_id, user_id, ciphertext) VALUES (gen_random_uuid(), 'planted', %s)",
            (secret.encode(),),
        )
    with redis.Redis.from_url(stack.environment["PIXELFLOW_REDIS_URL"]) as client:
        client.hset("planted", "field", f"before {secret} after")


def test_a_planted_secret_is_found(traffic: Traffic) -> None:
    """What makes the tests above ones that can fail: planted in a place of each kind."""
    secret = "hush-planted-hush"
    _plant(traffic.stack, secret)
    found = places.leaks({"planted": secret}, places.everywhere(traffic.stack))
    assert found == {("planted", place) for place in ("log api.log", "table webhook_secrets", "redis planted")}
    assert places.leaks({"planted": secret}, {"problems": f"{{'detail': '{secret}'}}".encode()})


def test_the_searched_secrets_are_long_enough(traffic: Traffic) -> None:
    assert {name for name, secret in traffic.secrets.items() if len(secret) < len("hush-in-a-url")} == set()
    signatures = [name for name in traffic.secrets if name.startswith("signature")]
    assert len(signatures) > 5
