"""The documents of ``deploy/s3`` that operators give to S3: as the guide shows them, and as the code needs them."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from pixelflow.adapters.storage.objects import ObjectStorage
from pixelflow.settings import Settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "s3"
DOCUMENTS = [path for folder in ("s3", "cdn", "nginx") for path in sorted((ROOT / "deploy" / folder).rglob("*.json"))]


def shown() -> list[Any]:
    guides = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("storage.md", "serve-outputs.md")]
    return [json.loads(block) for guide in guides for block in re.findall(r"```json\n(.*?)```", guide, re.DOTALL)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_guide_shows_each_document_as_it_is(path: Path) -> None:
    assert json.loads(path.read_text(encoding="utf-8")) in shown()


@pytest.mark.parametrize("name", ["cdn/cloudfront-bucket-policy.json", "nginx/bucket-policy.json"])
def test_a_cdn_may_only_read_the_prefix_and_not_without_a_condition(name: str) -> None:
    (statement,) = json.loads((ROOT / "deploy" / name).read_text(encoding="utf-8"))["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("s3:GetObject", "arn:aws:s3:::acme-shop-images/img/*")
    assert statement["Condition"]


def test_the_cache_of_a_cdn_ignores_what_a_visitor_can_change() -> None:
    policy = json.loads((ROOT / "deploy" / "cdn" / "cloudfront-cache-policy.json").read_text(encoding="utf-8"))
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    chosen = [each for part in key.values() if isinstance(part, dict) for each in part.values()]
    assert chosen == ["none"] * 3
    assert policy["MinTTL"] == 0, "the object's Cache-Control decides"
    assert policy["MaxTTL"] == 31_536_000


def test_web_pages_may_send_every_header_of_an_upload() -> None:
    (rule,) = json.loads((FOLDER / "cors.json").read_text(encoding="utf-8"))["CORSRules"]
    settings = {
        "database_url": "postgresql://x",
        "redis_url": "redis://x",
        "s3_endpoint_url": "http://x",
        "s3_bucket": "b",
        "s3_access_key_id": "k",
        "s3_secret_access_key": "s",
        "s3_sse": "aws:kms",
        "s3_sse_kms_key_id": "key",
    }
    storage = ObjectStorage(Settings.model_validate(settings))
    signed = storage.sign_upload("k", content_length=1, content_type="image/png", sha256=32 * "00", seconds=60)
    assert len(signed.headers) == 4
    assert {name.lower() for name in signed.headers} <= set(rule["AllowedHeaders"])
    assert {"PUT", "GET"} <= set(rule["AllowedMethods"])


def test_only_old_versions_are_removed_by_the_lifecycle() -> None:
    (rule,) = json.loads((FOLDER / "lifecycle.json").read_text(encoding="utf-8"))["Rules"]
    assert rule["Expiration"] == {"ExpiredObjectDeleteMarker": True}, "no days: current objects stay"
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert rule["Status"] == "Enabled"


def test_the_script_sets_policies_for_the_bucket_and_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELFLOW_S3_ENDPOINT_URL", "http://x")
    monkeypatch.setenv("PIXELFLOW_S3_PREFIX", "team/")
    read_policy = runpy.run_path(str(FOLDER / "make-bucket"))["read_policy"]
    resources = json.dumps([each["Resource"] for each in read_policy(FOLDER / "policies" / "worker.json", "mine")])
    assert set(re.findall(r"arn:aws:s3:::([^\"]*)", resources)) == {
        "mine",
        "mine/team/uploads/*",
        "mine/team/assets/*",
        "mine/team/outputs/*",
    }
