"""Confinement of a transform child: resource limits, capabilities, files (Landlock) and system calls (seccomp).

A process applies all of it to itself; no step needs a privilege, and none can be undone. A decoder that malicious
input has taken over can open no socket, start no process, and reach no file but libraries, fonts and its own folder.
Linux only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

MAX_OPEN_FILES = 128
MAX_FILE_BYTES = 1_000_000_000
"""Size limit of a written file (RLIMIT_FSIZE)."""

_libc = ctypes.CDLL(None, use_errno=True)


# ── Process attributes: prctl(2) ─────────────────────────────────────────────────────────────────

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
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

    The worker calls this for itself before it starts children.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        _raise_errno("prctl")


def _raise_errno(call: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}")


# ── Resources: setrlimit(2) ──────────────────────────────────────────────────────────────────────


def limit_resources(*, memory_bytes: int) -> None:
    """Limit the address space, open files and the size of written files; disable core files."""
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def limit_cpu(*, seconds: float) -> None:
    """Set the CPU time, in seconds since process start and over all threads, after which SIGXCPU kills the process."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, resource.RLIM_INFINITY))


# ── Privileges: capset(2) ────────────────────────────────────────────────────────────────────────

_CAPABILITY_VERSION_3 = 0x20080522
_KEPT_CAPABILITIES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def restrict_files(*, writable: Path) -> None:
    """Drop privileges and restrict file access to libraries and fonts, plus regular files and folders in ``writable``.

    Applies to the calling thread and to threads it starts later: call it while the process has a single thread.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _drop_capabilities()
    _apply_landlock(writable)


def _drop_capabilities() -> None:
    """Drop all capabilities except those that let a child of root read files at all; Landlock limits which files."""
    header, sets = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), ctypes.create_string_buffer(24)
    if _libc.capget(header, sets) != 0:
        _raise_errno("capget")
    effective, permitted = (low & _KEPT_CAPABILITIES for low in struct.unpack_from("II", sets))
    if _libc.capset(header, struct.pack("6I", effective, permitted, 0, 0, 0, 0)) != 0:
        _raise_errno("capset")


# ── Files: Landlock (landlock(7), Linux 5.13) ────────────────────────────────────────────────────

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_READ_FILE = 1 << 2
_READ = _READ_FILE | 1 << 3  # READ_FILE, READ_DIR
_WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8  # WRITE_FILE, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG: no links
_ALL = (1 << 13) - 1  # every right of Landlock's first ABI version: denied unless a rule allows it
_ENOSYS, _EOPNOTSUPP = 38, 95


def _apply_landlock(writable: Path) -> None:
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, struct.pack("Q", _ALL), ctypes.c_size_t(8), 0)
    if ruleset < 0:
        if ctypes.get_errno() in {_ENOSYS, _EOPNOTSUPP}:  # kernel without Landlock; the other restrictions still apply
            return
        _raise_errno("landlock_create_ruleset")
    try:
        for path in _readable():
            _allow_path(ruleset, path, _READ)
        _allow_path(ruleset, writable, _READ | _WRITE)
        if _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
            _raise_errno("landlock_restrict_self")
    finally:
        os.close(ruleset)


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


# ── System calls: seccomp(2) ─────────────────────────────────────────────────────────────────────

_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000  # SECCOMP_RET_ALLOW, _ERRNO, _KILL_PROCESS
_DENY, _NOT_IMPLEMENTED = _ERRNO | 1, _ERRNO | 38  # fail with EPERM; fail with ENOSYS
_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_CLONE3 = 435

_Instruction: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Architecture:
    audit: int
    """AUDIT_ARCH_…"""
    seccomp: int
    clone: int
    tgkill: int
    prlimit: int
    """prlimit64. As with clone (threads) and tgkill, allowed on the process itself and denied on others."""
    denied: Mapping[str, int]


# Numbers from asm/unistd_64.h and asm-generic/unistd.h.
# Landlock does not control a file's mode, owner, times or extended attributes, nor truncation before ABI version 3.
_ARCHITECTURES: dict[str, _Architecture] = {
    "x86_64": _Architecture(
        audit=0xC000003E, seccomp=317, clone=56, tgkill=234, prlimit=302,
        denied={
            "socket": 41, "socketpair": 53, "connect": 42, "bind": 49, "fork": 57, "vfork": 58, "execve": 59,
            "execveat": 322,
            "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kill": 62, "tkill": 200,
            "pidfd_open": 434,
            "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424, "setpriority": 141,
            "mount": 165, "unshare": 272, "setns": 308, "chroot": 161, "bpf": 321, "perf_event_open": 298,
            "userfaultfd": 323,
            "io_uring_setup": 425, "keyctl": 250, "add_key": 248, "request_key": 249, "memfd_create": 319,
            "shmget": 29, "shmat": 30, "msgget": 68, "semget": 64, "mq_open": 240,
            "truncate": 76, "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92,
            "fchown": 93,
            "lchown": 94, "fchownat": 260, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
            "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
        },
    ),
    "aarch64": _Architecture(
        audit=0xC00000B7, seccomp=277, clone=220, tgkill=131, prlimit=261,
        denied={
            "socket": 198, "socketpair": 199, "connect": 203, "bind": 200, "execve": 221, "execveat": 281,
            "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kill": 129, "tkill": 130,
            "pidfd_open": 434,
            "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "pidfd_send_signal": 424, "setpriority": 140,
            "mount": 40, "unshare": 97, "setns": 268, "chroot": 51, "bpf": 280, "perf_event_open": 241,
            "userfaultfd": 282,
            "io_uring_setup": 425, "keyctl": 219, "add_key": 217, "request_key": 218, "memfd_create": 279,
            "shmget": 194, "shmat": 196, "msgget": 186, "semget": 190, "mq_open": 180,
            "truncate": 45, "fchmod": 52, "fchmodat": 53, "fchmodat2": 452, "fchownat": 54, "fchown": 55,
            "utimensat": 88,
            "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7,
        },
    ),
}  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def restrict_system_calls() -> None:
    """Deny networking, other processes and other programs in all threads, by a classic BPF filter on call numbers.

    Covers threads that libraries have already started. Requires PR_SET_NO_NEW_PRIVS, set by ``restrict_files``.

    Raises:
        OSError: the kernel rejected the filter.
    """
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:  # resources and files are still restricted
        return
    code = _filter(architecture)
    program = _Program(len(code) // 8, code)
    if _libc.syscall(architecture.seccomp, _SET_MODE_FILTER, _FLAG_TSYNC, ctypes.byref(program)) != 0:
        _raise_errno("seccomp")


def _filter(architecture: _Architecture) -> bytes:
    """Calls of another architecture kill the process, denied calls fail with EPERM, all others are allowed."""
    denied = sorted(architecture.denied.values())
    instructions = [
        (_LOAD, 0, 0, 4),  # struct seccomp_data: arch
        (_JUMP_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # struct seccomp_data: nr
        (_JUMP_ABOVE, 0, 1, _X32 - 1),
        (_RETURN, 0, 0, _DENY),
        (_JUMP_EQUAL, 0, 1, _CLONE3),  # a filter can't read its flags, which are in memory; libc falls back to clone
        (_RETURN, 0, 0, _NOT_IMPLEMENTED),
        *_allow_if(architecture.clone, _JUMP_SET, _CLONE_THREAD),
        *_allow_if(architecture.tgkill, _JUMP_EQUAL, os.getpid()),
        *_allow_if(architecture.prlimit, _JUMP_EQUAL, 0),
        *((_JUMP_EQUAL, len(denied) - index, 0, number) for index, number in enumerate(denied)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def _allow_if(number: int, comparison: int, value: int) -> list[_Instruction]:
    """Allow a call if its first argument satisfies the comparison, else deny it; other calls fall through."""
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, 16),  # struct seccomp_data: args[0], the lower half
        (comparison, 0, 1, value),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
