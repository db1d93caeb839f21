"""Settings of webhooks."""

from __future__ import annotations

import os
from ipaddress import ip_network

import pytest

from pixelflow.controlplane.api import main as api_main
from pixelflow.controlplane.controller import main as controller
from pixelflow.settings import SettingsError, load

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
REQUIRED = {
    "DATABASE_URL": "postgresql://u:p@127.0.0.1/p",
    "REDIS_URL": "redis://127.0.0.1",
    "S3_ENDPOINT_URL": "http://127.0.0.1:9000",
    "S3_BUCKET": "b",
    "S3_ACCESS_KEY_ID": "a",
    "S3_SECRET_ACCESS_KEY": "s",
    "SECRETS_KEY": KEY,
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(f"PIXELFLOW_{name}", value)
    monkeypatch.setenv("RES_OPTIONS", "")  # so that what a controller sets does not outlive the test
    monkeypatch.delenv("RES_OPTIONS")


@pytest.mark.parametrize(
    ("spelt", "hosts"), [("", ()), ("Img.Example, *.cdn.example", ("img.example", "*.cdn.example"))]
)
def test_hosts_of_sources_are_listed_with_commas(
    monkeypatch: pytest.MonkeyPatch, spelt: str, hosts: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PIXELFLOW_URL_SOURCE_HOSTS", spelt)
    assert load().url_source_hosts == hosts


@pytest.mark.parametrize("spelt", ["*", "https://img.example", "img.example:8080", "a*.example", "img.example/a"])
def test_anything_else_is_no_host(monkeypatch: pytest.MonkeyPatch, spelt: str) -> None:
    monkeypatch.setenv("PIXELFLOW_URL_SOURCE_HOSTS", spelt)
    with pytest.raises(SettingsError, match=r"PIXELFLOW_URL_SOURCE_HOSTS.* must list host names"):
        load()


def test_private_networks_and_http_are_refused_by_default() -> None:
    settings = load()
    assert (settings.webhook_allow_cidrs, settings.webhook_allow_http) == ((), False)


@pytest.mark.parametrize("spelt", ["127.0.0.0/8,fd00::/8", " 127.0.0.0/8 , fd00::/8, "])
def test_networks_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, spelt: str) -> None:
    monkeypatch.setenv("PIXELFLOW_WEBHOOK_ALLOW_CIDRS", spelt)
    assert load().webhook_allow_cidrs == (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize("spelt", ["127.0.0.0/33", "localhost", "10.0.0.1/8", "10.0.0.0/8;11.0.0.0/8"])
def test_an_invalid_network_is_refused(monkeypatch: pytest.MonkeyPatch, spelt: str) -> None:
    monkeypatch.setenv("PIXELFLOW_WEBHOOK_ALLOW_CIDRS", spelt)
    with pytest.raises(SettingsError, match="PIXELFLOW_WEBHOOK_ALLOW_CIDRS"):
        load()


@pytest.mark.parametrize("padding", ["", "="])
def test_a_key_has_32_bytes_with_or_without_padding(monkeypatch: pytest.MonkeyPatch, padding: str) -> None:
    monkeypatch.setenv("PIXELFLOW_SECRETS_KEY", KEY + padding)
    assert load().require_secrets_keys() == (bytes(range(32)),)


@pytest.mark.parametrize("key", ["", "short", KEY[:-2], KEY + "AA", KEY.replace("A", "*"), "ключ" * 11])
def test_any_other_key_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("PIXELFLOW_SECRETS_KEY", key)
    with pytest.raises(SettingsError, match="PIXELFLOW_SECRETS_KEY") as refused:
        load()
    assert not key or key not in str(refused.value)


def test_several_keys_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELFLOW_SECRETS_KEY", f"{KEY[::-1]}, {KEY}")
    assert load().require_secrets_keys()[1:] == (bytes(range(32)),)
    monkeypatch.setenv("PIXELFLOW_SECRETS_KEY", f"{KEY},short")
    with pytest.raises(SettingsError, match="PIXELFLOW_SECRETS_KEY is not valid") as refused:
        load()
    assert KEY not in str(refused.value)


def test_a_process_that_needs_the_key_does_not_start_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIXELFLOW_SECRETS_KEY")
    settings = load()
    for run in (api_main.run, controller.run):
        with pytest.raises(SettingsError, match=r"PIXELFLOW_SECRETS_KEY is not set\. Description: Key that encrypts"):
            run(settings)


def test_a_key_is_not_shown() -> None:
    assert KEY not in repr(load())


@pytest.mark.parametrize(
    ("set_before", "holds"), [({}, "timeout:1 attempts:2"), ({"RES_OPTIONS": "timeout:3 rotate"}, "timeout:3 rotate")]
)
def test_a_controller_limits_dns_lookups_first(
    monkeypatch: pytest.MonkeyPatch, set_before: dict[str, str], holds: str
) -> None:
    monkeypatch.delenv("PIXELFLOW_SECRETS_KEY")
    for name, value in set_before.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError):
        controller.run(load())
    assert os.environ["RES_OPTIONS"] == holds
