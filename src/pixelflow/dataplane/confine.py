"""What a transform child gives up before it looks at a picture: memory, time, the network, files, other programs.

All of it is done by the process to itself, needs no privilege, and can't be undone. A decoder that a picture takes over
finds no socket, no file but fonts and its own scratch folder, and nothing to start. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
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


def close_doors(*, scratch: Path) -> None:
    """Give up the network, other programs and other files; ``scratch`` alone stays writable."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _drop_capabilities()
    _restrict_files(scratch)
    _restrict_system_calls()


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
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_READ = _READ_FILE | _READ_DIR
_ALL = (1 << 13) - 1  # every right of the first version of Landlock
_ENOSYS, _EOPNOTSUPP = 38, 95


def _restrict_files(scratch: Path) -> None:
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, struct.pack("Q", _ALL), ctypes.c_size_t(8), 0)
    if ruleset < 0:
        if ctypes.get_errno() in {_ENOSYS, _EOPNOTSUPP}:  # an old kernel; the other doors are closed all the same
            return
        _raise_errno("landlock_create_ruleset")
    try:
        for path in _readable():
            _allow(ruleset, path, _READ | _EXECUTE)
        _allow(ruleset, scratch, _ALL)
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
        allowed = rights if path.is_dir() else rights & (_READ_FILE | _EXECUTE)
        rule = struct.pack("=Qi", allowed, descriptor)
        if _libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) != 0:
            _raise_errno("landlock_add_rule")
    finally:
        os.close(descriptor)


# ── System calls: seccomp (seccomp(2)) ───────────────────────────────────────────────────────────

_SECCOMP_MODE_FILTER = 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
_UNKNOWN = 0x00050000 | _ENOSYS
_KILL = 0x80000000  # SECCOMP_RET_KILL_PROCESS
_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_CLONE3 = 435

# AUDIT_ARCH_…, then the numbers of the calls to refuse; asm/unistd_64.h and asm-generic/unistd.h.
# Landlock does not see changes of a file's mode, owner, times, attributes or (in its first two versions) length.
_ARCHITECTURES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
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
    "aarch64": (
        0xC00000B7,
        {
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
# Calls that are needed for oneself and refused for others: clone (threads, not processes), tgkill, prlimit64.
_OWN: dict[str, tuple[int, int, int]] = {"x86_64": (56, 234, 302), "aarch64": (220, 131, 261)}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _restrict_system_calls() -> None:
    known = _ARCHITECTURES.get(platform.machine())
    if known is None:  # resources and files are restricted all the same
        return
    architecture, calls = known
    code = _filter(architecture, sorted(calls.values()), *_OWN[platform.machine()])
    program = _Program(len(code) // 8, code)
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        _raise_errno("seccomp")


_Line: TypeAlias = tuple[int, int, int, int]


def _filter(architecture: int, refused: list[int], clone: int, tgkill: int, prlimit: int) -> bytes:
    """Classic BPF: another architecture's calls kill, the refused ones fail with EPERM, the rest pass."""
    count = len(refused)
    lines = [
        (_LOAD, 0, 0, 4),  # struct seccomp_data: arch
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # struct seccomp_data: nr
        (_JUMP_ABOVE, 0, 1, _X32 - 1),
        (_RETURN, 0, 0, _REFUSE),
        (_JUMP_EQUAL, 0, 1, _CLONE3),  # its flags lie in memory, which a filter can't read; libc then takes clone
        (_RETURN, 0, 0, _UNKNOWN),
        *_only_if(clone, _JUMP_SET, _CLONE_THREAD),
        *_only_if(tgkill, _JUMP_EQUAL, os.getpid()),
        *_only_if(prlimit, _JUMP_EQUAL, 0),
        *((_JUMP_EQUAL, count - index, 0, number) for index, number in enumerate(refused)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _only_if(number: int, comparison: int, value: int) -> list[_Line]:
    """Let a call pass if its first argument compares so, else refuse it; other calls go on behind."""
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, 16),  # struct seccomp_data: args[0], the lower half
        (comparison, 0, 1, value),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
