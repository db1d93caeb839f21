"""Confinement: each operation that a compromised decoder could try, in a confined process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFINED = """
import ctypes, mmap, os, resource, signal, socket, sys, threading
from pathlib import Path
from pixelflow.dataplane.child import confinement

scratch, victim, parent = Path(sys.argv[1]), Path(sys.argv[2]), os.getppid()
call = ctypes.CDLL(None, use_errno=True).syscall
confinement.limit_resources(memory_bytes=1_000_000_000)
confinement.restrict_files(writable=scratch)
confinement.restrict_system_calls()

def system_call(*arguments):
    if call(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "denied")

try:
    {attempt}
except (OSError, MemoryError, ValueError) as error:
    print("denied", type(error).__name__)
else:
    print("done")
"""


def _run_confined(attempt: str, folder: Path) -> str:
    """Run a statement in a confined process and return its result; ``victim`` is a file outside the writable folder."""
    scratch, victim = folder / "scratch", folder / "victim"
    scratch.mkdir()
    (scratch / "source").write_text("mine")
    victim.write_text("precious")
    program = [sys.executable, "-c", CONFINED.format(attempt=attempt), str(scratch), str(victim)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=20, check=False)
    assert victim.read_text() == "precious"
    assert victim.stat().st_mode & 0o777 == 0o644
    return done.stdout.strip() or f"ended with {done.returncode}: {done.stderr[-300:]}"


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param("open('/etc/passwd')", id="read a file of the system"),
        pytest.param("victim.read_text()", id="read a file outside its folder"),
        pytest.param("list(victim.parent.iterdir())", id="list a folder outside its folder"),
        pytest.param("open(f'/proc/{{parent}}/environ')", id="read the worker's environment"),
        pytest.param("open(f'/proc/{{parent}}/mem')", id="open the worker's memory"),
        pytest.param("open('/proc/self/environ')", id="read its own environment"),
        pytest.param(
            "os.symlink(victim, scratch / 'link'); (scratch / 'link').read_text()",
            id="read a file through a symbolic link",
        ),
        pytest.param("os.link(victim, scratch / 'hard')", id="hard link a file outside its folder"),
        pytest.param("victim.write_text('x')", id="write a file outside its folder"),
        pytest.param("(victim.parent / 'new').write_text('x')", id="create a file outside its folder"),
        pytest.param("os.symlink('/etc', scratch / 'link')", id="create a symbolic link in its folder"),
        pytest.param("os.mkfifo(scratch / 'fifo')", id="create a pipe in its folder"),
        pytest.param("os.truncate(victim, 0)", id="truncate a file outside its folder"),
        pytest.param("os.unlink(victim)", id="remove a file outside its folder"),
        pytest.param("os.rename(victim, scratch / 'moved')", id="move a file outside its folder"),
        pytest.param("os.chmod(victim, 0o777)", id="change a file's mode"),
        pytest.param("os.chown(victim, 0, 0)", id="change a file's owner"),
        pytest.param("os.utime(victim)", id="change a file's times"),
        pytest.param("os.chroot(scratch)", id="change the root"),
        pytest.param("os.mkfifo(victim.parent / 'fifo')", id="create a pipe outside its folder"),
        pytest.param("socket.socket()", id="open a TCP socket"),
        pytest.param("socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)", id="open a UDP socket"),
        pytest.param("socket.socket(socket.AF_UNIX)", id="open a Unix socket"),
        pytest.param("socket.socketpair()", id="open a socket pair"),
        pytest.param("os.execv('/bin/sh', ['sh', '-c', 'true'])", id="execute another program"),
        pytest.param("os.posix_spawn('/bin/sh', ['sh', '-c', 'true'], {{}})", id="start another program"),
        pytest.param("os.fork() or os._exit(0)", id="start another process"),
        pytest.param("os.kill(parent, 0)", id="signal the worker"),
        pytest.param("signal.pidfd_send_signal(os.pidfd_open(parent), 0)", id="signal the worker through a pidfd"),
        pytest.param(
            "system_call(234 if os.uname().machine == 'x86_64' else 131, parent, parent, 0)",
            id="signal a thread of the worker",
        ),
        pytest.param("os.setpriority(os.PRIO_PROCESS, parent, 19)", id="lower the worker's priority"),
        pytest.param("resource.prlimit(parent, resource.RLIMIT_NOFILE, (3, 3))", id="change the worker's limits"),
        pytest.param("bytearray(2_000_000_000)", id="allocate more memory than allowed"),
        pytest.param("mmap.mmap(-1, 2_000_000_000)", id="map more memory than allowed"),
        pytest.param("[os.open('/dev/null', os.O_RDONLY) for _ in range(200)]", id="open more files than allowed"),
        pytest.param(
            "resource.setrlimit(resource.RLIMIT_AS, (1_000_000_001,) * 2); bytearray(2_000_000_000)",
            id="raise its own memory limit",
        ),
    ],
)
def test_a_confined_process_can_not(attempt: str, tmp_path: Path) -> None:
    assert _run_confined(attempt.replace("{{", "{").replace("}}", "}"), tmp_path).startswith("denied")


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param("assert (scratch / 'source').read_text() == 'mine'", id="read its scratch folder"),
        pytest.param("(scratch / 'output').write_text('x')", id="write to its scratch folder"),
        pytest.param("threading.Thread(target=print).start()", id="start a thread"),
        pytest.param("confinement.limit_cpu(seconds=5)", id="limit its own CPU time"),
        pytest.param("import fractions", id="load a module"),
    ],
)
def test_a_confined_process_can(attempt: str, tmp_path: Path) -> None:
    assert _run_confined(attempt, tmp_path).endswith("done")


def test_exceeding_the_cpu_limit_kills_the_process(tmp_path: Path) -> None:
    assert _run_confined("confinement.limit_cpu(seconds=0)\n    while True: pass", tmp_path).startswith(
        "ended with -24"
    )
