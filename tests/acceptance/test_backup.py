"""Backup and restore with the commands of ``docs/operations.md``, on separate servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg
from tests.acceptance.job_steps import create, done, download, finished, show, start, upload
from tests.acceptance.pictures import photo
from tests.acceptance.running import database_url, servers_alone, service_with
from tests.support.databases import new_database
from tests.support.doc_tables import DOCS

from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.binaries import postgres_programs
from pixelflow.devstack.stack import Stack
from pixelflow.devstack.up import pixelflow_roles


def commands(name: str) -> str:
    """The shell commands that follow the page's mark of that name."""
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- {name}: run by .*? -->\n```sh\n(.*?)```", page, re.DOTALL)
    return str(found)


def run(stack: Stack, script: str, url: str, folder: Path) -> None:
    """As an operator would, with Postgres's own programs and PixelFlow's on the path."""
    programs = [postgres_programs(stack.home), Path(sys.executable).parent]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    environment = {"PATH": path, "PIXELFLOW_DATABASE_URL": url, "LANG": "C.UTF-8"}
    ended = subprocess.run(
        ["sh", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr


def client_of(stack: Stack, key: str) -> httpx.Client:
    return httpx.Client(base_url=stack.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def test_a_backup_is_restored_and_the_service_continues(tmp_path: Path) -> None:
    with servers_alone() as stack:
        key = issue_key(database_url(stack), user_id="anna", name="test")
        stack.start_processes(pixelflow_roles(stack))
        with client_of(stack, key) as client:
            before, waiting = done(client, photo()), create(client)
            upload(waiting, photo())
            run(stack, commands("back up"), database_url(stack), tmp_path)
            since = create(client)["job_id"]

        with new_database(stack) as url:
            run(stack, commands("restore"), url, tmp_path)
            # Beside the same bucket, and an empty Redis.
            kept = {name: value for name, value in stack.environment.items() if "_S3_" in name or "_SECRETS_" in name}
            with service_with({**kept, "PIXELFLOW_DATABASE_URL": url}) as restored, client_of(restored, key) as client:
                assert show(client, before["job_id"])["usage"] == before["usage"]
                assert (
                    len(download(show(client, before["job_id"])["outputs"][0]).content) == before["outputs"][0]["bytes"]
                )
                assert client.get(f"/v1/jobs/{since}").status_code == 404
                assert show(client, waiting["job_id"])["status"] == "created"
                assert start(client, waiting).status_code == 202
                assert finished(client, waiting["job_id"])["status"] == "succeeded"


def test_a_dump_without_the_reach_is_empty_as_the_page_warns(stack: Stack, tmp_path: Path) -> None:
    issue_key(database_url(stack), user_id="anna", name="test")
    without = commands("back up").replace("PGOPTIONS='-c pixelflow.tenant_scope=everyone' ", "")
    run(stack, without, database_url(stack), tmp_path)
    with new_database(stack) as url:
        run(stack, commands("restore"), url, tmp_path)
        with psycopg.connect(url, options="-c pixelflow.tenant_scope=everyone") as connection:
            assert connection.execute("SELECT * FROM api_keys").fetchall() == []
