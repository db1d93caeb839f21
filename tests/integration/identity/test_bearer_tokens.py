"""Tokens through a running API with a configured issuer, next to API keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.token_issuer import AUDIENCE, ISSUER, Issuer, SigningKey, running_issuer

from pixelflow import settings as settings_module
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings, SettingsError

SIGNER = SigningKey("now", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        running.publish(SIGNER)
        yield running


@pytest.fixture
def api(settings: Settings, issuer: Issuer, running_api: Callable[[Settings], str]) -> str:
    trusting = {"jwt_issuer": ISSUER, "jwt_jwks_url": issuer.url, "jwt_audience": AUDIENCE}
    return running_api(settings.model_copy(update=trusting))


def get_jobs(api: str, bearer: str) -> httpx.Response:
    return httpx.get(f"{api}/v1/jobs", headers={"Authorization": f"Bearer {bearer}"})


def test_a_token_and_a_key_of_one_user_see_the_same(stack: Stack, api: str, user_id: str) -> None:
    token = SIGNER.token("ES256", sub=user_id, scope="jobs:read jobs:write")
    body = {
        "source": {"content_length": 9},
        "pipeline": [{"id": "small", "action": "resize", "width": 9, "format": "webp"}],
    }
    made = httpx.post(f"{api}/v1/jobs", json=body, headers={"Authorization": f"Bearer {token}"}).json()
    key = issue_key(stack.environment["PIXELFLOW_DATABASE_URL"], user_id=user_id, name="n")
    assert [job["job_id"] for job in get_jobs(api, key).json()["data"]] == [made["job_id"]]


def test_a_token_without_the_scope_gets_403(api: str, user_id: str) -> None:
    answer = get_jobs(api, SIGNER.token("ES256", sub=user_id, scope="usage:read"))
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


def test_the_response_says_why_a_signed_token_is_rejected(api: str) -> None:
    answer = get_jobs(api, SIGNER.token("ES256", exp=1))
    assert (answer.status_code, answer.json()["detail"]) == (401, "The token has expired")


def test_without_the_issuers_keys_tokens_get_503_and_api_keys_work(
    stack: Stack, settings: Settings, running_api: Callable[[Settings], str], user_id: str
) -> None:
    gone = {"jwt_issuer": ISSUER, "jwt_jwks_url": "http://127.0.0.1:1/", "jwt_audience": AUDIENCE}
    api = running_api(settings.model_copy(update=gone))
    answer = get_jobs(api, SIGNER.token("ES256"))
    assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unavailable")
    key = issue_key(stack.environment["PIXELFLOW_DATABASE_URL"], user_id=user_id, name="n")
    assert get_jobs(api, key).status_code == 200


def test_tokens_are_rejected_if_no_issuer_is_configured(service: Stack) -> None:
    assert get_jobs(service.api_url, SIGNER.token("ES256")).status_code == 401


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ISSUER": ISSUER}, "PIXELFLOW_JWT_JWKS_URL and PIXELFLOW_JWT_AUDIENCE"),
        (
            {"ISSUER": ISSUER, "JWKS_URL": "https://id.example/jwks.json"},
            "PIXELFLOW_JWT_ISSUER requires PIXELFLOW_JWT_AUDIENCE:",
        ),
        (
            {"ISSUER": ISSUER, "JWKS_URL": "file:///etc/passwd", "AUDIENCE": AUDIENCE},
            "PIXELFLOW_JWT_JWKS_URL is not valid",
        ),
        ({"ISSUER": ""}, "PIXELFLOW_JWT_ISSUER is not valid"),
    ],
    ids=str,
)
def test_an_incomplete_issuer_configuration_fails_at_startup(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], message: str
) -> None:
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    for name, value in given.items():
        monkeypatch.setenv(f"PIXELFLOW_JWT_{name}", value)
    with pytest.raises(SettingsError) as refused:
        settings_module.load()
    assert message in str(refused.value)
