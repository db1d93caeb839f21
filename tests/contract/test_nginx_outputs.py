"""``deploy/nginx/outputs.conf``, run by nginx in front of a bucket in which a job has stored its outputs."""

from __future__ import annotations

import hashlib
import http.client
import io
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tests.support.checked_s3 import CheckedS3, Session, running_s3
from tests.support.ports import free_port
from tests.support.waiting import eventually

from pixelflow.adapters.storage.buckets import NamedBuckets, public_url
from pixelflow.adapters.storage.interrupts import never
from pixelflow.settings.buckets import NamedBucket

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx" / "outputs.conf"
KEY = Session("AKIASHOP", "shop-secret")
FOREVER = "public, max-age=31536000, immutable"
BODY = b"image of a product"
NAMES = ["products/A 17/card-640-0123456789abcdef.webp", "a+b (1), ü=~'!@.webp", "deep/er/x..y.webp"]
MAIN = """\
pid nginx.pid;
error_log errors.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    {paths}
    types {{ }}
    include {configuration};
}}
"""
TEMPORARY = "\n    ".join(
    f"{name}_temp_path temporary;" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


@pytest.fixture(scope="module")
def s3() -> Iterator[CheckedS3]:
    with running_s3() as server:
        server.admit(KEY)
        server.public_prefix = "img/"
        yield server


@pytest.fixture(scope="module")
def site(s3: CheckedS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the served prefix."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("no nginx on this machine (Debian: apt-get install nginx-light)")
    folder = tmp_path_factory.mktemp("nginx")
    port = free_port()
    changed = CONFIGURATION.read_text(encoding="utf-8")
    for shown, real in {
        "/var/cache/nginx/outputs": str(folder / "cache"),
        "s3.internal:9000": urlsplit(s3.url).netloc,
        "listen 80;": f"listen 127.0.0.1:{port};",
        "/acme-shop-images$": f"/{s3.settings['bucket']}$",
    }.items():
        assert shown in changed
        changed = changed.replace(shown, real)
    (folder / "outputs.conf").write_text(changed)
    main = folder / "nginx.conf"
    main.write_text(MAIN.format(paths=TEMPORARY, configuration=folder / "outputs.conf"))
    command = [program, "-p", str(folder), "-c", str(main), "-e", str(folder / "errors.log"), "-g"]
    with subprocess.Popen([*command, "daemon off; master_process off;"]) as nginx:
        try:
            eventually(lambda: nginx.poll() is not None or _answers(port))
            assert nginx.poll() is None, (folder / "errors.log").read_text()
            yield f"http://127.0.0.1:{port}/img"
        finally:
            nginx.kill()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def bucket_of(s3: CheckedS3, base_url: str | None = None) -> NamedBucket:
    credentials = {"access_key_id": "ID", "secret_access_key": "SECRET"}
    fields = {"prefix": "img/", "public_base_url": base_url, "credentials": credentials}
    return NamedBucket.model_validate({**s3.settings, **fields})


def store(s3: CheckedS3, key: str, *, cache_control: str = FOREVER, content: bytes = BODY) -> None:
    buckets = NamedBuckets({"shop": bucket_of(s3)}, {"ID": KEY.key_id, "SECRET": KEY.secret})
    headers = {"Content-Type": "image/webp", "Cache-Control": cache_control}
    sha256 = hashlib.sha256(content).hexdigest()
    file = io.BytesIO(content)
    buckets.store("shop", key, file, headers=headers, sha256=sha256, job="j", overwrite=True, interrupts=never)


@pytest.mark.parametrize("key", NAMES)
def test_the_final_url_of_an_output_is_served_with_its_headers(site: str, s3: CheckedS3, key: str) -> None:
    store(s3, key)
    url = public_url(bucket_of(s3, site), key)
    assert url is not None
    for method, body in (("HEAD", b""), ("GET", BODY), ("HEAD", b"")):
        answer = httpx.request(method, url)
        assert (answer.status_code, answer.content) == (200, body)
        assert (answer.headers["cache-control"], answer.headers["content-type"]) == (FOREVER, "image/webp")
        assert answer.headers["content-length"] == str(len(BODY))
        assert answer.headers["access-control-allow-origin"] == "*"
        assert not [name for name in answer.headers if name.startswith("x-amz-")]
    assert httpx.get(url).headers["x-cache"] == "HIT"


def test_storage_is_asked_once_and_not_at_all_while_it_is_away(site: str, s3: CheckedS3) -> None:
    store(s3, "once-0123456789abcdef.webp")
    asked = len(s3.requests)
    answers = [httpx.get(f"{site}/once-0123456789abcdef.webp") for _ in range(5)]
    assert len(s3.requests) == asked + 1
    assert [each.headers["x-cache"] for each in answers] == ["MISS", *["HIT"] * 4]
    store(s3, "short.webp", cache_control="public, max-age=1")
    assert httpx.get(f"{site}/short.webp").content == BODY
    s3.is_away = True
    try:
        eventually(lambda: httpx.get(f"{site}/short.webp").headers["x-cache"] in {"STALE", "UPDATING"})
        assert httpx.get(f"{site}/short.webp").content == BODY
    finally:
        s3.is_away = False


def test_a_replaced_object_is_new_after_its_max_age(site: str, s3: CheckedS3) -> None:
    store(s3, "replaced.webp", cache_control="public, max-age=1")
    assert httpx.get(f"{site}/replaced.webp").content == BODY
    store(s3, "replaced.webp", cache_control="public, max-age=1", content=b"new")
    eventually(lambda: httpx.get(f"{site}/replaced.webp").content == b"new")


def test_parts_of_an_output_can_be_asked_for(site: str, s3: CheckedS3) -> None:
    store(s3, "part.webp")
    for _ in range(2):  # the first time from storage, then from the cache
        part = httpx.get(f"{site}/part.webp", headers={"Range": "bytes=0-4"})
        assert (part.status_code, part.content) == (206, BODY[:5])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/img/none.webp", 404),
        ("HEAD", "/img/none.webp", 404),
        ("GET", "/img/", 404),
        ("GET", "/img/?list-type=2", 404),
        ("GET", "/img?list-type=2", 301),
        ("GET", "/", 404),
        ("GET", "/secret/x", 404),
        ("GET", "/img/../secret/x", 404),
        ("GET", "/img/%2e%2e/secret/x", 404),
        ("GET", "/img/..%2fsecret/x", 404),
        ("GET", "/img/%2E./secret/x?a", 404),
        ("GET", "/secret/../img/kept.webp", 404),
        ("PUT", "/img/kept.webp", 404),
        ("DELETE", "/img/kept.webp", 404),
        ("POST", "/img/kept.webp", 404),
    ],
)
def test_nothing_else_is_served_and_nothing_changed(
    site: str, s3: CheckedS3, method: str, path: str, status: int
) -> None:
    store(s3, "kept.webp")
    s3.objects["secret/x"] = (b"secret", {})
    before = dict(s3.objects)
    connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=60)
    connection.request(method, path)  # as it is; httpx would shorten the path
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == status
    assert b"secret" not in body
    assert b"<Code>" not in body
    assert s3.objects == before
    assert "s3:ListBucket" not in {action for _, action, _ in s3.requests}
