"""Confinement: each operation that a compromised decoder could try, in a confined process of its own.

Each process has what a child has: the user, files and calls of the real confinement, a socket to the worker, a source
to read and a file for outputs. It runs as root's child, which becomes another user, and as an ordinary user.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import pixelflow

SOURCE = Path(pixelflow.__file__).parents[1]
ORDINARY = 12_345
CONFINED = """
import ctypes, fcntl, mmap, os, resource, signal, socket, sys, threading
from pathlib import Path
from pixelflow.dataplane.child import confinement, seccomp

victim, parent, control, other = Path(sys.argv[1]), os.getppid(), int(sys.argv[2]), int(sys.argv[3])
folder = victim.parent
x86 = os.uname().machine == "x86_64"
call = ctypes.CDLL(None, use_errno=True).syscall
source, output = os.open(folder / "source", os.O_RDONLY), os.open(folder / "output", os.O_WRONLY)
worker = socket.socket(fileno=control)
confinement.limit_resources(memory_bytes=1_000_000_000, file_bytes=1_000_000)
confinement.limit_threads(os.getuid() or 65534)
confinement.restrict_files()
confinement.become_user(65534, [Path(os.__file__)])
confinement.limit_cpu(seconds=2)
seccomp.restrict_system_calls(control=control)

def system_call(*arguments):
    if call(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "denied")

try:
    {attempt}
except (OSError, MemoryError, ValueError, RuntimeError) as error:
    os.write(1, b"denied")
else:
    os.write(1, b"done")
os._exit(0)
"""


@pytest.fixture(params=["child of root", "ordinary user"])
def user(request: pytest.FixtureRequest) -> str:
    if request.param == "ordinary user" and os.getuid() == 0 and shutil.which("python3", path="/usr/bin") is None:
        pytest.skip("no Python that another user could read")
    if request.param == "child of root" and os.getuid() != 0:
        pytest.skip("not root")
    return str(request.param)


def _run_confined(attempt: str, folder: Path, user: str) -> str:
    """Run a statement in a confined process and return its result; ``victim`` is a file of the worker."""
    victim = folder / "victim"
    for name in ("victim", "source", "output"):
        (folder / name).write_text("precious")
    program, options = sys.executable, {}
    if user == "ordinary user" and os.getuid() == 0:
        program, options = "/usr/bin/python3", {"user": ORDINARY, "group": ORDINARY, "extra_groups": []}
        for path in (folder, *folder.iterdir()):
            os.chown(path, ORDINARY, ORDINARY)
        for path in folder.parents:
            if path.name.startswith(("pytest-", "popen-")):  # with pytest-xdist a level more
                path.chmod(0o755)
    ours, theirs = socket.socketpair()
    others = socket.socketpair()
    with ours, theirs, others[0], others[1]:
        passed = (theirs.fileno(), others[1].fileno())
        done = subprocess.run(  # type: ignore[call-overload]
            [program, "-c", CONFINED.format(attempt=attempt), str(victim), *map(str, passed)],
            env={"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True, timeout=20, check=False, pass_fds=passed, **options,
        )  # fmt: skip
    assert victim.read_text() == "precious"
    assert victim.stat().st_mode & 0o777 == 0o644
    assert (folder / "output").stat().st_size <= 1_000_000
    assert {path.name for path in folder.iterdir()} == {"victim", "source", "output"}
    return done.stdout.strip() or f"ended with {done.returncode}: {done.stderr[-300:]}"


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param("open('/etc/passwd')", id="read a file of the system"),
        pytest.param("victim.read_text()", id="read a file of the worker"),
        pytest.param("list(folder.iterdir())", id="list a folder of the worker"),
        pytest.param("os.open(f'/proc/self/fd/{source}', os.O_RDONLY)", id="open its source anew"),
        pytest.param("open(f'/proc/{parent}/environ')", id="read the worker's environment"),
        pytest.param("open(f'/proc/{parent}/mem')", id="open the worker's memory"),
        pytest.param("open('/proc/self/environ')", id="read its own environment"),
        pytest.param("os.write(source, b'x')", id="write to its source"),
        pytest.param("os.ftruncate(source, 0)", id="truncate its source"),
        pytest.param("os.pwrite(output, b'x', 2_000_000)", id="write outputs beyond their size"),
        pytest.param("os.ftruncate(output, 2_000_000)", id="enlarge its outputs beyond their size"),
        pytest.param("os.posix_fallocate(output, 0, 2_000_000)", id="reserve disk beyond its outputs' size"),
        pytest.param("os.fchmod(output, 0o777)", id="change its outputs' mode"),
        pytest.param("victim.write_text('x')", id="write a file"),
        pytest.param("(folder / 'new').write_text('x')", id="create a file"),
        pytest.param("os.open('/tmp', os.O_TMPFILE | os.O_RDWR)", id="create an unnamed file"),
        pytest.param("os.memfd_create('x')", id="create a file in memory"),
        pytest.param("os.mkdir(folder / 'new')", id="create a folder"),
        pytest.param("os.symlink('/etc', folder / 'link')", id="create a symbolic link"),
        pytest.param("os.link(victim, folder / 'hard')", id="create a hard link"),
        pytest.param("os.mkfifo(folder / 'fifo')", id="create a pipe"),
        pytest.param("os.truncate(victim, 0)", id="truncate a file"),
        pytest.param("os.unlink(victim)", id="remove a file"),
        pytest.param("os.rename(victim, folder / 'moved')", id="move a file"),
        pytest.param("os.chmod(victim, 0o777)", id="change a file's mode"),
        pytest.param("os.chown(victim, 0, 0)", id="change a file's owner"),
        pytest.param("os.utime(victim)", id="change a file's times"),
        pytest.param("os.chroot(folder)", id="change the root"),
        pytest.param("socket.socket()", id="open a TCP socket"),
        pytest.param("socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)", id="open a UDP socket"),
        pytest.param("socket.socket(socket.AF_UNIX)", id="open a Unix socket"),
        pytest.param("socket.socketpair()", id="open a socket pair"),
        pytest.param("call(47 if x86 else 212, other, 0, 0) + 1 or os.stat(-1)", id="receive from another socket"),
        pytest.param("system_call(44 if x86 else 206, other, b'x', 1, 0, 0, 0)", id="send to another socket"),
        pytest.param("os.execv('/bin/sh', ['sh', '-c', 'true'])", id="execute another program"),
        pytest.param("os.posix_spawn('/bin/sh', ['sh', '-c', 'true'], {})", id="start another program"),
        pytest.param("os.fork() or os._exit(0)", id="start another process"),
        pytest.param("mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)", id="map executable memory"),
        pytest.param("os.kill(parent, 0)", id="signal the worker"),
        pytest.param("signal.pidfd_send_signal(os.pidfd_open(parent), 0)", id="signal the worker through a pidfd"),
        pytest.param("system_call(234 if x86 else 131, parent, parent, 0)", id="signal a thread of the worker"),
        pytest.param("fcntl.fcntl(control, fcntl.F_SETOWN, parent)", id="have the kernel signal the worker"),
        pytest.param("os.setpriority(os.PRIO_PROCESS, parent, 19)", id="lower the worker's priority"),
        pytest.param("os.nice(5)", id="change its own priority"),
        pytest.param("system_call(251 if x86 else 30, 1, 0, 0)", id="change its own I/O priority"),
        pytest.param("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))", id="change its own scheduling"),
        pytest.param("os.sched_setaffinity(0, {0})", id="change its own processors"),
        pytest.param("system_call(157 if x86 else 167, 1, 0)", id="outlive its parent"),
        pytest.param("resource.prlimit(parent, resource.RLIMIT_NOFILE, (3, 3))", id="change the worker's limits"),
        pytest.param("resource.prlimit(parent, resource.RLIMIT_NOFILE)", id="read the worker's limits"),
        pytest.param("resource.setrlimit(resource.RLIMIT_CPU, (1, 2))", id="change its own limits"),
        pytest.param("os.setuid(0)", id="become root"),
        pytest.param("bytearray(2_000_000_000)", id="allocate more memory than allowed"),
        pytest.param("mmap.mmap(-1, 2_000_000_000)", id="map more memory than allowed"),
        pytest.param("[os.dup(0) for _ in range(200)]", id="open more files than allowed"),
        pytest.param(
            "[threading.Thread(target=threading.Event().wait).start() for _ in range(9999)]",
            id="start threads without end",
        ),
    ],
)
def test_a_confined_process_can_not(attempt: str, tmp_path: Path, user: str) -> None:
    assert _run_confined(attempt, tmp_path, user).startswith("denied")


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param("assert os.read(source, 9) == b'precious'", id="read its source"),
        pytest.param("os.write(output, b'x')", id="write outputs"),
        pytest.param("worker.sendall(b'x')", id="reply to the worker"),
        pytest.param("threading.Thread(target=print).start()", id="start a thread"),
        pytest.param("assert resource.getrlimit(resource.RLIMIT_AS)[0] == 1_000_000_000", id="read its own limits"),
        pytest.param("import colorsys", id="load a module of Python"),
    ],
)
def test_a_confined_process_can(attempt: str, tmp_path: Path, user: str) -> None:
    assert _run_confined(attempt, tmp_path, user).endswith("done")


def test_exceeding_the_cpu_limit_kills_the_process(tmp_path: Path, user: str) -> None:
    assert _run_confined("while True: pass", tmp_path, user).startswith("ended with -9")
