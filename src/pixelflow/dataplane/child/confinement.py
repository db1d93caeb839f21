"""Confinement of transform children: user, resource limits, capabilities, files (Landlock), and system calls.

The template applies all but the filter of system calls, which is `child.seccomp`, to itself; its children inherit it.
No step needs a privilege, except to become another user, and none can be undone. A decoder that malicious input has
taken over can open no socket, start no process, read no file but libraries and fonts, and write to no path. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

MAX_OPEN_FILES = 128
_SPARE_THREADS = 512
"""Threads that the user may have beyond those of now (RLIMIT_NPROC counts all of a user's, on the whole machine)."""

_libc = ctypes.CDLL(None, use_errno=True)


# ── Process attributes: prctl(2) ─────────────────────────────────────────────────────────────────

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_SET_NO_NEW_PRIVS = 38


def set_parent_death_signal(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, even by ``kill -9`` (PR_SET_PDEATHSIG).

    Args:
        parent: process id of the parent.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call took effect
        os.kill(os.getpid(), signal.SIGKILL)


def disable_dumpable() -> None:
    """Hide this process's memory and environment from other processes of the same user (PR_SET_DUMPABLE).

    The worker calls this for itself before it starts children, and the template after its last change of the user.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        _raise_errno("prctl")


def _raise_errno(call: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}")


# ── Resources: setrlimit(2) ──────────────────────────────────────────────────────────────────────


def limit_resources(*, memory_bytes: int, file_bytes: int) -> None:
    """Limit the address space, open files and the size of the file of outputs; disable core files."""
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def limit_threads(user: int) -> None:
    """Limit the threads of the user that this process is or becomes: one process can't use up all process ids."""
    limit, hard = 2 * _count_threads(user) + _SPARE_THREADS, resource.getrlimit(resource.RLIMIT_NPROC)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))


def _count_threads(user: int) -> int:
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile
            if process.stat().st_uid == user:
                count += len(list((process / "task").iterdir()))
    return count


def limit_cpu(*, seconds: int) -> None:
    """Set the CPU time of this process, in all its threads, after which SIGKILL ends it."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


# ── Privileges: capset(2) ────────────────────────────────────────────────────────────────────────

_CAPABILITY_VERSION_3 = 0x20080522
_READ_SEARCH = 1 << 2  # CAP_DAC_READ_SEARCH


def become_user(user: int, needed: Sequence[Path]) -> bool:
    """Change from root to another user and drop all capabilities; return whether the process is not root.

    A child whose libraries and fonts (``needed``) are readable to root alone keeps the capability to read them;
    Landlock limits which files these are.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if os.getuid() == 0:
        _prctl(_PR_SET_KEEPCAPS, 1)
        with suppress(PermissionError):  # root in a container that may not change its user
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
    _keep_capabilities(0 if all(os.access(path, os.R_OK) for path in needed) else _READ_SEARCH)
    return os.getuid() != 0


def _keep_capabilities(kept: int) -> None:
    header, sets = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), ctypes.create_string_buffer(24)
    if _libc.capget(header, sets) != 0:
        _raise_errno("capget")
    kept &= struct.unpack_from("II", sets)[1]  # permitted
    if _libc.capset(header, struct.pack("6I", kept, kept, 0, 0, 0, 0)) != 0:
        _raise_errno("capset")


# ── Files: Landlock (landlock(7), Linux 5.13) ────────────────────────────────────────────────────

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_READ_FILE = 1 << 2
_READ = _READ_FILE | 1 << 3  # READ_FILE, READ_DIR
# Rights that each ABI version added: all are denied unless a rule allows them.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_NETWORK_RIGHTS = {4: 0b11}  # bind and connect by TCP
_SCOPES = {6: 0b11}  # abstract Unix sockets and signals of other processes
_ENOSYS, _EOPNOTSUPP = 38, 95


def restrict_files(readable: Sequence[Path] = ()) -> bool:
    """Restrict file access to reading libraries, fonts and ``readable``; return whether the kernel can do that.

    Applies to the calling thread and to threads it starts later: call it while the process has a single thread.
    """
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)
    if version < 0:
        if ctypes.get_errno() in {_ENOSYS, _EOPNOTSUPP}:
            return False
        _raise_errno("landlock_create_ruleset")
    ruleset = _create_ruleset(version)
    try:
        for path in (*_readable(), *readable):
            _allow_path(ruleset, path, _READ)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        if _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
            _raise_errno("landlock_restrict_self")
    finally:
        os.close(ruleset)
    return True


def _create_ruleset(version: int) -> int:
    files, network, scopes = (
        sum(right for since, right in rights.items() if since <= version)
        for rights in (_FILE_RIGHTS, _NETWORK_RIGHTS, _SCOPES)
    )
    attributes = struct.pack("3Q", files, network, scopes)[: 8 if version < 4 else 16 if version < 6 else 24]  # noqa: PLR2004
    ruleset: int = _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        _raise_errno("landlock_create_ruleset")
    return ruleset


def _readable() -> Iterator[Path]:
    """Paths of Python, libvips and fonts: some modules and libraries are loaded after confinement."""
    paths = {
        *sys.path,
        sys.prefix,
        sys.base_prefix,
        "/usr",
        "/lib",
        "/lib64",
        "/etc/fonts",
        "/dev/null",
        "/dev/urandom",
    }
    yield from (Path(path) for path in sorted(paths) if path and Path(path).exists())


def _allow_path(ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = rights if path.is_dir() else _READ_FILE
        rule = struct.pack("=Qi", allowed, descriptor)
        if _libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) != 0:
            _raise_errno("landlock_add_rule")
    finally:
        os.close(descriptor)
