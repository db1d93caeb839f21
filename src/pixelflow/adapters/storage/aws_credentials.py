"""Where AWS gives a process its access key: variables, IRSA, a profile, EKS Pod Identity and ECS, or EC2.

Each source is one or two small HTTP requests or a file. All of them block: only the thread of
:mod:`~pixelflow.adapters.storage.refreshed_keys` may call them. No error contains a URL, a token or a response.

https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

from __future__ import annotations

import configparser
import html
import http.client
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from pixelflow.adapters.storage.signatures import AccessKey

_LINK_LOCAL_SECONDS = 2.0
_STS_SECONDS = 10.0
_MAX_RESPONSE_BYTES = 64 * 1024
_ECS_ENDPOINT = "http://169.254.170.2"
_CONTAINER_HOSTS = {"localhost", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"}
"""Hosts that may be asked without TLS, besides loopback addresses: those of ECS and of the EKS Pod Identity Agent."""
_IMDS_ENDPOINT = "http://169.254.169.254"
_IMDS_LIFE = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
"""Of the token that the next two requests use."""
_IMDS_ROLES = "/latest/meta-data/iam/security-credentials/"
_SESSION_NAME = "pixelflow"
_STS_ELEMENT = re.compile(r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration)>([^<]+)</")
_STS_ERROR = re.compile(r"<Code>([A-Za-z.]{1,64})</Code>")


class CredentialsError(Exception):
    """A source has no credentials at present; ``str()`` says why, for the operator."""


@dataclass(frozen=True)
class CredentialSource:
    """A source of access keys."""

    name: str
    """For logs and metrics."""
    fetch: Callable[[], AccessKey] = field(repr=False)
    """Returns a new access key. Blocks. Raises ``CredentialsError``: there is none."""


def find_source(variables: Mapping[str, str], *, region: str) -> CredentialSource:
    """Return the first source that the environment configures, in the order of AWS's own libraries.

    The choice does not depend on what answers: a source that fails does not silently become another identity.

    Args:
        variables: the environment's ``AWS_…`` variables and ``HOME``.
        region: of the STS endpoint, unless the environment has one.
    """
    if variables.get("AWS_ACCESS_KEY_ID"):
        return CredentialSource("environment", partial(_from_environment, variables))
    if variables.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return CredentialSource(
            "web_identity", partial(_from_web_identity, variables, _sts_endpoint(variables, region))
        )
    profiles = _profiles_path(variables)
    if variables.get("AWS_PROFILE") or profiles.is_file():
        return CredentialSource("profile", partial(_from_profile, profiles, variables.get("AWS_PROFILE") or "default"))
    if url := _container_url(variables):
        return CredentialSource("container", partial(_from_container, url, variables))
    endpoint = variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _IMDS_ENDPOINT
    is_disabled = variables.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
    return CredentialSource("instance", _from_nowhere if is_disabled else partial(_from_instance, endpoint.rstrip("/")))


# ── Sources ──────────────────────────────────────────────────────────────────────────────────────


def _from_environment(variables: Mapping[str, str]) -> AccessKey:
    if not variables.get("AWS_SECRET_ACCESS_KEY"):
        raise CredentialsError("AWS_SECRET_ACCESS_KEY is not set")
    return AccessKey(
        variables["AWS_ACCESS_KEY_ID"],
        variables["AWS_SECRET_ACCESS_KEY"],
        variables.get("AWS_SESSION_TOKEN", ""),
        _moment(variables.get("AWS_CREDENTIAL_EXPIRATION")),
    )


def _from_web_identity(variables: Mapping[str, str], endpoint: str) -> AccessKey:
    """AssumeRoleWithWebIdentity. It needs no signature: the token of the Kubernetes service account proves who asks."""
    if not variables.get("AWS_ROLE_ARN"):
        raise CredentialsError("AWS_ROLE_ARN is not set")
    request = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": variables["AWS_ROLE_ARN"],
        "RoleSessionName": variables.get("AWS_ROLE_SESSION_NAME") or _SESSION_NAME,
        "WebIdentityToken": _read(variables["AWS_WEB_IDENTITY_TOKEN_FILE"], "AWS_WEB_IDENTITY_TOKEN_FILE"),
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text = _send("STS", "POST", endpoint, headers, urlencode(request), seconds=_STS_SECONDS)
    if status != http.client.OK:
        code = _STS_ERROR.search(text)
        raise CredentialsError(f"STS refuses the role: {code[1] if code else f'status {status}'}")
    return _access_key("STS", {name: html.unescape(value) for name, value in _STS_ELEMENT.findall(text)})


def _from_profile(path: Path, name: str) -> AccessKey:
    profiles = configparser.RawConfigParser(default_section="")
    try:
        profiles.read_string(_read(str(path), "the file of profiles"))
        profile = profiles[name]
        return AccessKey(
            profile["aws_access_key_id"], profile["aws_secret_access_key"], profile.get("aws_session_token", "")
        )
    except KeyError:
        raise CredentialsError(f"the profile {name} has no aws_access_key_id and aws_secret_access_key") from None
    except configparser.Error:
        raise CredentialsError("the file of profiles is not valid") from None


def _from_container(url: str, variables: Mapping[str, str]) -> AccessKey:
    """ECS and EKS Pod Identity. Kubernetes replaces the token's file, so it is read each time."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_trusted(parts.hostname or ""):
        raise CredentialsError(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or an address of the container's host"
        )
    token = variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    if path := variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        token = _read(path, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    headers = {"Accept": "application/json", **({"Authorization": token} if token else {})}
    return _access_key("the container's host", _ask_for_json("the container's host", url, headers))


def _from_instance(endpoint: str) -> AccessKey:
    """EC2's instance metadata service, version 2: it wants a token that only a PUT request returns."""
    who = "the instance metadata service"
    status, token = _send(who, "PUT", f"{endpoint}/latest/api/token", _IMDS_LIFE)
    if status != http.client.OK:
        raise CredentialsError(f"{who} gives no token: status {status}")
    headers = {"X-aws-ec2-metadata-token": token}
    status, roles = _send(who, "GET", endpoint + _IMDS_ROLES, headers)
    if status != http.client.OK or not roles.strip():
        raise CredentialsError("the instance has no role")
    return _access_key(who, _ask_for_json(who, endpoint + _IMDS_ROLES + roles.split()[0], headers))


def _from_nowhere() -> AccessKey:
    raise CredentialsError("AWS gives this process no credentials: no AWS_ variable names any")


# ── Parts ────────────────────────────────────────────────────────────────────────────────────────


def _sts_endpoint(variables: Mapping[str, str], region: str) -> str:
    """STS of the region: the global endpoint is slower, and a single point of failure."""
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or region
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return variables.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.{suffix}"


def _profiles_path(variables: Mapping[str, str]) -> Path:
    named = variables.get("AWS_SHARED_CREDENTIALS_FILE")
    return Path(named) if named else Path(variables.get("HOME") or "/") / ".aws" / "credentials"


def _container_url(variables: Mapping[str, str]) -> str:
    if relative := variables.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return _ECS_ENDPOINT + relative
    return variables.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")


def _is_trusted(host: str) -> bool:
    try:
        return host in _CONTAINER_HOSTS or ip_address(host).is_loopback
    except ValueError:
        return False


def _read(path: str, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise CredentialsError(f"{what} can't be read") from None


def _ask_for_json(who: str, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    status, text = _send(who, "GET", url, headers)
    if status != http.client.OK:
        raise CredentialsError(f"{who} gives no credentials: status {status}")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _send(
    who: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: str | None = None,
    *,
    seconds: float = _LINK_LOCAL_SECONDS,
) -> tuple[int, str]:
    """Send a request, by no proxy; returns the status and the body."""
    try:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=seconds)
        try:
            connection.request(method, parts._replace(scheme="", netloc="").geturl() or "/", body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read(_MAX_RESPONSE_BYTES).decode("utf-8", "replace")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError):
        raise CredentialsError(f"{who} does not answer") from None


def _access_key(who: str, found: Mapping[str, Any]) -> AccessKey:
    token = found.get("Token") or found.get("SessionToken")
    values = [found.get("AccessKeyId"), found.get("SecretAccessKey"), token, found.get("Expiration")]
    if not all(isinstance(each, str) and each for each in values):
        raise CredentialsError(f"{who} answers without credentials")
    key_id, secret, session_token, expiration = map(str, values)
    return AccessKey(key_id, secret, session_token, _moment(expiration))


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CredentialsError("the credentials have no valid expiration") from None
    if moment.tzinfo is None:
        raise CredentialsError("the credentials have no valid expiration")
    return moment
