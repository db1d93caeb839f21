"""Confinement: hostile code in place of the transform gets nothing out of its child (``make takeover``)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tests.takeover.__main__ import ORDINARY_USER, ROOT_USER, UNCONFINED, UnavailableError, run_as
from tests.takeover.attempts import LIMITS, Attempt
from tests.takeover.scene import Result, judge

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def runs() -> dict[str, Future[list[Result]]]:
    """All attempts, side by side, as each user."""
    with ThreadPoolExecutor() as pool:
        users = (ROOT_USER, ORDINARY_USER, UNCONFINED) if os.getuid() == 0 else (ORDINARY_USER,)
        return {user: pool.submit(run_as, user) for user in users}


@pytest.mark.parametrize("user", [pytest.param(ROOT_USER, marks=needs_root), ORDINARY_USER])
def test_a_child_that_was_taken_over_is_confined(user: str, runs: dict[str, Future[list[Result]]]) -> None:
    try:
        results = runs[user].result()
    except UnavailableError as error:
        pytest.skip(f"no Python that another user can run: {error}")
    assert [result for result in results if not result.prevented] == []
    assert len(results) > 200


@needs_root
def test_only_the_confinement_prevents_most_attempts(runs: dict[str, Future[list[Result]]]) -> None:
    results = runs[UNCONFINED].result()
    free = {result.name: result.result for result in results if not result.prevented}
    assert len(free) > 0.8 * len(results), "the rest depends on the kernel"
    assert not [name for name, result in free.items() if result.startswith("broken")]
    assert "files" in free["delete a file"]
    assert "the file" in free["write to a file"]
    assert "a connection" in free["connect to the database"]
    assert "bystander" in free["change the priority of a process of its user"]


@pytest.mark.parametrize(
    ("result", "changes"),
    [
        pytest.param("done", [], id="a call that succeeds"),
        pytest.param("refused EINVAL", [], id="a call that is wrong by itself"),
        pytest.param("broken NameError: x", [], id="an attempt that is wrong"),
        pytest.param("killed SIGSEGV", [], id="a crash"),
        pytest.param("refused EPERM", ["files"], id="a change outside"),
    ],
)
def test_only_a_refusal_counts_as_one(result: str, changes: Sequence[str]) -> None:
    attempt = Attempt("files", "read", "")
    assert not judge(attempt, result, changes).prevented
    assert judge(attempt, "refused EPERM").prevented
    assert not judge(Attempt(LIMITS, "stat", ""), "refused EPERM").prevented, (
        "the documentation says that it is allowed"
    )


def test_exceeding_the_cpu_limit_kills_the_process() -> None:
    code = "from pixelflow.dataplane.child import confinement; confinement.limit_cpu(seconds=1)\nwhile True: pass"
    assert subprocess.run([sys.executable, "-c", code], timeout=300, check=False).returncode == -9
