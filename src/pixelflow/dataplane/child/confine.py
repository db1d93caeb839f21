"""What a transform child gives up before it looks at a picture: memory, time, privileges, files.

All of it is done by the process to itself, needs no privilege, and can't be undone; system calls are given up in
:mod:`~pixelflow.dataplane.child.system_calls`. A decoder that a picture takes over
finds no socket, no file but libraries, fonts and its own folder, and nothing to start. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_DUMPABLE = 4

_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITIES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH

MAX_OPEN_FILES = 128
MAX_FILE_BYTES = 1_000_000_000
"""No output is larger than this."""

_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """Be killed when the thread that started us ends, also by ``kill -9`` (prctl(2), PR_SET_PDEATHSIG)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we could ask
        os.kill(os.getpid(), signal.SIGKILL)


def hide_from_children() -> None:
    """For the worker: let no process of the same user read our memory and environment (prctl(2), PR_SET_DUMPABLE)."""
    _prctl(_PR_SET_DUMPABLE, 0)


def limit_resources(*, memory_bytes: int) -> None:
    """Bound the address space, open files and the size of a written file; leave no core file (setrlimit(2))."""
    for what, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))


def limit_cpu(*, seconds: float) -> None:
    """Be killed (SIGXCPU) when this process has used so much processor time since its start, in all its threads."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, resource.RLIM_INFINITY))


def restrict_files(*, writable: Path) -> None:
    """Give up privileges, and all files but libraries and fonts; in the folder ``writable``, files and folders alone.

    Binds this thread and those it starts later: to be called while there is but one.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _drop_capabilities()
    _apply_landlock(writable)


def _drop_capabilities() -> None:
    """Root's child keeps what lets it read files at all (Landlock bounds which), and no other privilege (capset(2))."""
    header, sets = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), ctypes.create_string_buffer(24)
    if _libc.capget(header, sets) != 0:
        _raise_errno("capget")
    effective, permitted = (low & _CAPABILITIES for low in struct.unpack_from("II", sets))
    if _libc.capset(header, struct.pack("6I", effective, permitted, 0, 0, 0, 0)) != 0:
        _raise_errno("capset")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        _raise_errno("prctl")


def _raise_errno(what: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")


# ── Files: Landlock (landlock(7), Linux 5.13) ────────────────────────────────────────────────────

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_READ_FILE = 1 << 2
_READ = _READ_FILE | 1 << 3  # READ_FILE, READ_DIR
_WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8  # WRITE_FILE, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG: no links
_ALL = (1 << 13) - 1  # every right of the first version of Landlock; what is not allowed of them is refused
_ENOSYS, _EOPNOTSUPP = 38, 95


def _apply_landlock(writable: Path) -> None:
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, struct.pack("Q", _ALL), ctypes.c_size_t(8), 0)
    if ruleset < 0:
        if ctypes.get_errno() in {_ENOSYS, _EOPNOTSUPP}:  # an old kernel; the other doors are closed all the same
            return
        _raise_errno("landlock_create_ruleset")
    try:
        for path in _readable():
            _allow(ruleset, path, _READ)
        _allow(ruleset, writable, _READ | _WRITE)
        if _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
            _raise_errno("landlock_restrict_self")
    finally:
        os.close(ruleset)


def _readable() -> Iterator[Path]:
    """Where Python, libvips and their fonts are: modules and libraries that are loaded late still have to be found."""
    places = {
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
    yield from (Path(place) for place in sorted(places) if place and Path(place).exists())


def _allow(ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = rights if path.is_dir() else _READ_FILE
        rule = struct.pack("=Qi", allowed, descriptor)
        if _libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) != 0:
            _raise_errno("landlock_add_rule")
    finally:
        os.close(descriptor)
