"""Checks of the buckets that the operator named: who can use them, and whether they answer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from pixelflow.cli.diagnosis.finding import Finding, absent, error, ok, warning, within_limit
from pixelflow.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from pixelflow.settings import Settings
    from pixelflow.settings.buckets import NamedBucket


def check_buckets(settings: Settings) -> Iterator[Finding]:
    """Yield the state of each named bucket."""
    for name, bucket in settings.named_buckets.items():
        yield from within_limit(f"bucket {name}", partial(_check, name, bucket))


def _check(name: str, bucket: NamedBucket) -> list[Finding]:
    return [_finding(f"bucket {name}", name, bucket)]


def _finding(title: str, name: str, bucket: NamedBucket) -> Finding:
    from pixelflow.adapters.storage.buckets import NamedBuckets  # noqa: PLC0415 - see the package's docstring
    from pixelflow.settings import SettingsError, variables_of_buckets  # noqa: PLC0415 - the same

    if bucket.credentials == "aws":
        return absent(title, f"{_uses(bucket)}; not asked, since it has the credentials that AWS gives a worker")
    try:
        buckets = NamedBuckets({name: bucket}, variables_of_buckets([bucket]))
    except SettingsError:
        return absent(title, f"{_uses(bucket)}; not asked: {', '.join(bucket.variables)} must be set, as for workers")
    code = buckets.probe(name)
    buckets.close()
    if code == "NoSuchKey":
        return ok(title, _uses(bucket))
    if not code:
        return error(title, "does not answer", "Check its endpoint_url and the server.", ExitCode.UNREACHABLE)
    if code == "AccessDenied":
        advice = "Check its policy; s3:ListBucket lets it say that an object does not exist."
        return warning(title, f"{_uses(bucket)}; refuses to say whether an object exists", advice)
    return error(title, f"refuses requests: {code}", "Check its bucket, region and credentials.", ExitCode.UNREACHABLE)


def _uses(bucket: NamedBucket) -> str:
    sources = f"sources below {bucket.prefix}{bucket.source_template}" if bucket.sources else ""
    everybody = "" if not sources or "{user_id}" in bucket.source_template else " of all users"
    return " and ".join(filter(None, ["outputs" if bucket.outputs else "", sources + everybody])) or "not used"
