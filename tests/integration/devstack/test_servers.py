"""The three servers: persistence, authentication, and protection from other users of the machine."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis
from tests.integration.devstack.processes_of import processes_of
from tests.support.signed_requests import Target, send
from tests.support.waiting import eventually

from pixelflow.devstack.account import servers_account
from pixelflow.devstack.errors import StackError
from pixelflow.devstack.home import Home
from pixelflow.devstack.s3_server import S3Server
from pixelflow.devstack.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Mapping

JPEG = {"Content-Type": "image/jpeg", "Content-Length": "5"}


def _put(environment: Mapping[str, str], key: str) -> int:
    return send("PUT", Target.of(environment).presign("PUT", key, headers=JPEG), b"hello", JPEG).status


def _server_settings(stack: Stack) -> dict[str, str]:
    return {name: value for name, value in stack.environment.items() if name != "PIXELFLOW_API_PORT"}


def test_data_survives_a_restart(home: Path, said: list[str]) -> None:
    with Stack.open(home, echo=said.append) as first:
        assert first.is_new
        first.start_servers()
        with psycopg.connect(first.environment["PIXELFLOW_DATABASE_URL"]) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        with redis.Redis.from_url(first.environment["PIXELFLOW_REDIS_URL"]) as client:
            client.set("kept", "42")
        assert _put(first.environment, "kept/object") == 200
    with Stack.open(home, echo=said.append) as second:
        assert not second.is_new
        assert _server_settings(second) == _server_settings(first)
        second.start_servers()
        with psycopg.connect(second.environment["PIXELFLOW_DATABASE_URL"]) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchall() == [(42,)]
        with redis.Redis.from_url(second.environment["PIXELFLOW_REDIS_URL"]) as client:
            assert client.get("kept") == b"42"
        assert send("GET", Target.of(second.environment).presign("GET", "kept/object")).body == b"hello"
    assert processes_of(home) == []


@pytest.mark.parametrize("left", ["of another process", "of no process", "truncated", "damaged"])
def test_a_lock_file_that_a_power_failure_left_does_not_prevent_a_start(home: Path, said: list[str], left: str) -> None:
    """The ID in it may belong to any process by then, here to one of the user that Postgres runs as."""
    with Stack.open(home, echo=said.append) as first:
        first.start_servers()
        lock = home / "postgres" / "data" / "postmaster.pid"
        rest = lock.read_text().partition("\n")[2]
    account = servers_account()
    with subprocess.Popen(["/bin/sleep", "60"], user=account.uid, group=account.gid) as other:
        first_line = {"of another process": other.pid, "of no process": 4_194_304, "damaged": "\0\0"}.get(left)
        lock.write_text("" if left == "truncated" else f"{first_line}\n{rest}")
        account.chown(lock)
        try:
            with Stack.open(home, echo=said.append) as second:
                second.start_servers()
        finally:
            other.kill()


def test_a_database_of_another_major_version_is_reported_with_what_to_do(home: Path, said: list[str]) -> None:
    with Stack.open(home, echo=said.append) as first:
        first.start_servers()
    (home / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    with (
        Stack.open(home, echo=said.append) as second,
        pytest.raises(StackError, match=r"^Postgres 17 created the database .* dump the database"),
    ):
        second.start_servers()
    assert processes_of(home) == []


LOCAL = {
    "PIXELFLOW_RATE_LIMIT_ENABLED": "false",
    "PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8,::1/128",
    "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true",
}


@pytest.mark.parametrize("set_to", [None, ""])
def test_limits_and_webhooks_are_those_of_one_machine_unless_the_caller_s_environment_sets_them(
    home: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, set_to: str | None
) -> None:
    """Settings that the stack does not override come from the caller's environment."""
    for name in LOCAL:
        monkeypatch.delenv(name, raising=False)
        if set_to is not None:
            monkeypatch.setenv(name, set_to)
    with Stack.open(home, echo=said.append) as opened:
        found = {name: value for name, value in opened.environment.items() if name in LOCAL}
    assert found == (LOCAL if set_to is None else {})


def test_urls_of_the_public_bucket_begin_with_the_address_of_the_server_in_front_of_it(
    home: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIXELFLOW_BUCKETS", raising=False)
    nginx = "http://127.0.0.1:8081"
    for given, expected in ((None, None), (nginx, nginx), (None, nginx), ("", None)):
        with Stack.open(home, public_url=given, echo=said.append) as opened:
            url = expected or f"http://{opened.addresses['public']}"
            assert opened.public_url == url
            for role in ("api", "controller", "worker"):
                [bucket] = json.loads(opened.environment_of(role)["PIXELFLOW_BUCKETS"]).values()
                assert bucket["public_base_url"] == url


def test_two_homes_run_side_by_side(servers: Stack, home: Path, said: list[str]) -> None:
    with Stack.open(home, echo=said.append) as other:
        other.start_servers()
        urls = {name for name in other.environment if name.endswith("_URL")}
        assert all(other.environment[name] != servers.environment[name] for name in urls)


@pytest.mark.parametrize("user", ["pixelflow", "postgres"])
def test_postgres_rejects_a_wrong_password(servers: Stack, user: str) -> None:
    parts = urlsplit(servers.environment["PIXELFLOW_DATABASE_URL"])
    url = urlunsplit(parts._replace(netloc=f"{user}:wrong@{parts.hostname}:{parts.port}"))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)


def test_valkey_rejects_clients_without_a_password(servers: Stack) -> None:
    parts = urlsplit(servers.environment["PIXELFLOW_REDIS_URL"])
    with (
        redis.Redis.from_url(f"redis://{parts.hostname}:{parts.port}/0") as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_s3_rejects_an_unsigned_request(servers: Stack) -> None:
    assert _put(servers.environment, "private/object") == 200
    signed = Target.of(servers.environment).presign("GET", "private/object")
    assert send("GET", signed).status == 200
    assert send("GET", signed.partition("?")[0]).status in {400, 403}


def test_pixelflow_s_role_owns_its_database_and_is_not_a_superuser(servers: Stack) -> None:
    with psycopg.connect(servers.environment["PIXELFLOW_DATABASE_URL"]) as connection:
        row = connection.execute(
            "SELECT rolsuper, pg_get_userbyid(datdba), current_setting('fsync'), current_setting('server_version_num') "
            "FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"
        ).fetchone()
    assert row is not None
    assert row[:3] == (False, "pixelflow", "on")
    assert row[3].startswith("18")


def test_servers_listen_only_on_the_loopback_interface(servers: Stack) -> None:
    listening = {
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    }
    for address in servers.addresses.values():
        hexadecimal = f"{int(address.rpartition(':')[2]):04X}"
        assert {host for host, _, port in (entry.partition(":") for entry in listening) if port == hexadecimal} <= {
            "0100007F"
        }


def test_no_secret_is_on_a_command_line(servers: Stack) -> None:
    running = processes_of(servers.home.path)
    assert running
    command_lines = b"".join((Path("/proc") / pid / "cmdline").read_bytes() for pid in running)
    assert [name for name, secret in servers.home.secrets.items() if secret.encode() in command_lines] == []


def test_no_secret_is_in_a_log(servers: Stack) -> None:
    logged = "".join(log.read_text() for log in (servers.home.path / "logs").iterdir())
    assert [name for name, secret in servers.home.secrets.items() if secret in logged] == []


def test_other_users_can_t_read_anything_in_the_home(servers: Stack) -> None:
    for entry in servers.home.path.iterdir():
        open_to_others = stat.S_IRWXG | stat.S_IRWXO
        assert entry.stat().st_mode & open_to_others == 0, entry
    assert servers.home.path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IRGRP | stat.S_IWGRP) == 0


@pytest.mark.parametrize(
    ("method", "key", "headers", "body"),
    [
        pytest.param("PUT", "signed", {"Content-Type": "image/png"}, b"hello", id="other content type"),
        pytest.param("PUT", "signed", {"Content-Type": "image/jpeg"}, b"hello!", id="other length"),
        pytest.param("PUT", "other", {"Content-Type": "image/jpeg"}, b"hello", id="other key"),
        pytest.param("POST", "signed", {"Content-Type": "image/jpeg"}, b"hello", id="other method"),
    ],
)
def test_s3_rejects_an_upload_that_differs_from_its_signature(
    servers: Stack, method: str, key: str, headers: dict[str, str], body: bytes
) -> None:
    url = Target.of(servers.environment).presign("PUT", "signed", headers=JPEG)
    assert send(method, url.replace("/signed?", f"/{key}?"), body, headers).status == 403


def test_an_interrupted_upload_leaves_nothing(servers: Stack) -> None:
    size = 3_000_000
    url = urlsplit(
        Target.of(servers.environment).presign("PUT", "broken/object", headers={"Content-Length": str(size)})
    )
    head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {size}\r\n\r\n"
    bucket = servers.home.path / "objects" / servers.environment["PIXELFLOW_S3_BUCKET"]
    with socket.create_connection((url.hostname, url.port)) as connection:
        connection.sendall(head.encode() + bytes(size // 2))
        eventually(lambda: any(bucket.glob("broken/.rclone_temp_*")))
        assert send("HEAD", Target.of(servers.environment).presign("HEAD", "broken/object")).status == 404
    eventually(lambda: not any(path.is_file() for path in bucket.glob("broken/**/*")))
    assert send("HEAD", Target.of(servers.environment).presign("HEAD", "broken/object")).status == 404


@pytest.mark.parametrize(("killed", "left"), [(True, False), (False, True)])
def test_partial_uploads_are_removed_at_the_start_after_a_kill(home: Path, killed: bool, left: bool) -> None:
    Home(home, servers_account()).close()
    (home / "lock").write_text("12345" if killed else "")
    opened = Home(home, servers_account())
    upload = opened.folder("objects") / "pixelflow" / "uploads" / ".rclone_temp_put_1"
    upload.parent.mkdir(parents=True)
    upload.touch()
    S3Server(opened, 1).start().kill_group()
    assert upload.exists() is left
    opened.close()


def test_a_web_page_can_upload_with_a_presigned_url(servers: Stack) -> None:
    url = Target.of(servers.environment).presign("PUT", "from-a-page", headers=JPEG)
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "PUT"}
    assert send("OPTIONS", url, headers=asked).status == 200
