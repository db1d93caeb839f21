"""The setting of named buckets, and who can use which of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pixelflow import settings as settings_package
from pixelflow.adapters.storage.buckets import NamedBuckets, public_url, source_root, user_folder
from pixelflow.adapters.storage.request_form import address
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.controlplane.jobs.destinations import Destinations
from pixelflow.errors import ValidationFailedError
from pixelflow.settings import Settings, SettingsError
from pixelflow.settings.buckets import NamedBucket

SHOP = {
    "bucket": "acme-shop",
    "endpoint_url": "https://s3.example",
    "credentials": {"access_key_id": "SHOP_ID", "secret_access_key": "SHOP_SECRET"},
}
REQUIRED = {
    "PIXELFLOW_DATABASE_URL": "postgresql://x",
    "PIXELFLOW_REDIS_URL": "redis://x",
    "PIXELFLOW_S3_ENDPOINT_URL": "http://x",
    "PIXELFLOW_S3_BUCKET": "b",
    "PIXELFLOW_S3_ACCESS_KEY_ID": "id",
    "PIXELFLOW_S3_SECRET_ACCESS_KEY": "secret",
}
JOB = UUID(int=7)


def load(value: str) -> Settings:
    return settings_package.load(REQUIRED | {"PIXELFLOW_BUCKETS": value})


def bucket(**fields: Any) -> NamedBucket:  # noqa: ANN401  # values of the setting
    return NamedBucket.model_validate(SHOP | fields)


def request(**destination: object) -> CreateJobRequest:
    return CreateJobRequest.model_validate(
        {
            "pipeline": [{"id": "a", "action": "resize", "width": 5}],
            "destination": {"bucket": "shop", "key": "{user_id}/{job_id}/{step}.{ext}", **destination},
        }
    )


def test_buckets_are_read_from_json_or_a_file_of_it(tmp_path: Path) -> None:
    document = json.dumps({"shop": SHOP})
    (tmp_path / "buckets.json").write_text(document)
    assert load(document).named_buckets == load(str(tmp_path / "buckets.json")).named_buckets == {"shop": bucket()}
    assert load("").named_buckets == {}


def test_all_faults_are_reported_at_once_and_no_value_is_repeated() -> None:
    wrong = SHOP | {"endpoint_url": "ftp://SECRET", "prefix": "../", "addressing": "SECRET", "usrs": ["SECRET"]}
    with pytest.raises(SettingsError) as raised:
        load(json.dumps({"Shop": wrong, "other": {}}))
    message = str(raised.value)
    for fault in ("Shop.[key]", "Shop.endpoint_url", "Shop.prefix", "Shop.addressing", "Shop.usrs", "other.bucket"):
        assert fault in message
    assert "SECRET" not in message
    for text in ("{", "[1]", "/no/such/file"):
        with pytest.raises(SettingsError, match="PIXELFLOW_BUCKETS is not valid"):
            load(text)


def test_credentials_are_named_and_never_shown() -> None:
    loaded = load(json.dumps({"shop": SHOP}))
    environment = {"SHOP_ID": "the-id", "SHOP_SECRET": "the-secret"}
    opened = NamedBuckets(loaded.named_buckets, environment)
    assert "the-secret" not in f"{opened!r} {vars(opened)!r} {loaded!r}"
    with pytest.raises(SettingsError) as raised:
        NamedBuckets(loaded.named_buckets, {})
    assert [name in str(raised.value) for name in environment] == [True, True]


def test_only_users_of_a_writable_bucket_can_name_it() -> None:
    named = {
        "shop": bucket(users=["ann"], acls=["public-read"]),
        "archive": bucket(users=[]),
        "open-one": bucket(),
    }
    destinations = Destinations(named)
    destinations.check("ann", request(acl="public-read").destination)
    for user, fields, text in (
        ("bob", {}, "use `open-one`"),
        ("ann", {"bucket": "archive"}, "use `open-one`, `shop`"),
        ("ann", {"bucket": "shp"}, "did you mean `shop`?"),
        ("ann", {"acl": "private"}, "is not allowed"),
    ):
        with pytest.raises(ValidationFailedError) as raised:
            destinations.check(user, request(**fields).destination)
        assert text in raised.value.errors[0].message


@pytest.mark.parametrize("per_user", [True, False])
def test_each_user_has_a_folder_unless_the_operator_shares_the_bucket(*, per_user: bool) -> None:
    destinations = Destinations({"shop": bucket(per_user=per_user)})
    stored = [destinations.stored(user, request(key="{step}.{ext}"), JOB) for user in ("a/b", "a=2Fb")]
    keys = {each["resolved_key"] for each in stored if each}
    assert keys == ({"a=2Fb/{step}.{ext}", "a=3D2Fb/{step}.{ext}"} if per_user else {"{step}.{ext}"})


@pytest.mark.parametrize("user", ["..", ".", "../x", "a/../b", "%2e%2e", "ä", "a\nb"])
def test_a_user_id_can_t_leave_the_prefix(user: str) -> None:
    assert set(user_folder(user)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~=")
    assert user_folder(user) not in {"", ".", ".."}


def test_addresses_and_public_urls() -> None:
    assert address("https://s3.example:9", "b", "path") == ("https://s3.example:9", "b")
    assert address("https://s3.example:9", "b", "virtual") == ("https://b.s3.example:9", "")
    assert public_url(bucket(), "a.webp") is None
    served = bucket(public_base_url="https://img.example/shop/")
    assert public_url(served, "a b/ü+.webp") == "https://img.example/shop/a%20b/%C3%BC%2B.webp"


def test_the_settings_shown_in_the_guide_are_valid() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "storage.md").read_text(encoding="utf-8")
    shown = re.findall(r"```json\n(.*?)```", guide.partition("## Named buckets")[2], re.DOTALL)
    shop, originals = (load(each).named_buckets[name] for each, name in zip(shown, ("shop", "originals"), strict=False))
    read, write = (json.loads(each)["Statement"] for each in shown[2:])
    assert write[0]["Action"] == ["s3:GetObject", "s3:PutObject"]
    assert write[0]["Resource"] == f"arn:aws:s3:::{shop.bucket}/{shop.prefix}*"
    assert read[0]["Action"] == "s3:GetObject"
    assert read[0]["Resource"] == f"arn:aws:s3:::{originals.bucket}/tenants/*"
    assert source_root(originals, "alice") == "tenants/alice/"


def test_the_request_shown_in_the_guide_is_valid() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "serve-outputs.md").read_text(encoding="utf-8")
    shown, *_ = re.findall(r"```json\n(.*?)```", guide.partition("## Store outputs")[2], re.DOTALL)
    assert CreateJobRequest.model_validate_json(shown).destination


# ── Sources ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "root"),
    [
        ({}, "al=2Fice/"),
        ({"source_prefix": "{user_id}/originals/"}, "al=2Fice/originals/"),
        ({"outputs": False, "source_prefix": "photos/{user_id}/"}, "photos/al=2Fice/"),
        ({"outputs": False, "source_prefix": ""}, ""),
        ({"per_user": False}, ""),
        ({"per_user": False, "source_prefix": "photos/"}, "photos/"),
    ],
)
def test_the_prefix_of_sources_has_the_folder_of_the_user(fields: dict[str, Any], root: str) -> None:
    assert source_root(bucket(sources=True, **fields), "al/ice") == root


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source_prefix": "photos/"}, "has a source_prefix, but no sources"),
        ({"sources": True, "source_prefix": "photos/"}, "lets users read the outputs of others"),
        ({"sources": True, "source_prefix": "photos/{user_id}/"}, "lets users read the outputs of others"),
        ({"sources": True, "source_prefix": "{user}/"}, "must be folders that each end with /"),
        ({"sources": True, "source_prefix": "../"}, "must be folders that each end with /"),
        ({"sources": True, "source_prefix": "{user_id}"}, "must be folders that each end with /"),
    ],
)
def test_a_prefix_that_does_not_separate_users_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load(json.dumps({"shop": SHOP | fields}))


@pytest.mark.parametrize("prefix", ["", "uploads/", "uploads/x/"])
def test_sources_in_the_bucket_of_the_service_have_a_prefix_of_their_own(prefix: str) -> None:
    own = SHOP | {"bucket": REQUIRED["PIXELFLOW_S3_BUCKET"], "sources": True}
    with pytest.raises(SettingsError, match="give it a prefix such as cdn/"):
        load(json.dumps({"shop": own | {"prefix": prefix}}))
    assert load(json.dumps({"shop": own | {"prefix": "cdn/"}})).named_buckets["shop"].sources
