"""What a transform child gives up of the kernel: the network, other processes, other programs (seccomp(2)). Linux only.

A filter of classic BPF refuses the calls by number. It holds for every thread of the process, also for those that a
library has started before.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000  # SECCOMP_RET_ALLOW, _ERRNO, _KILL_PROCESS
_REFUSE, _UNKNOWN = _ERRNO | 1, _ERRNO | 38  # with EPERM; with ENOSYS, as if the kernel did not have the call
_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_CLONE3 = 435

_Line: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Architecture:
    audit: int
    """AUDIT_ARCH_…"""
    seccomp: int
    clone: int
    tgkill: int
    prlimit: int
    """prlimit64. Like clone (for threads) and tgkill it is needed for oneself, and refused for others."""
    refused: Mapping[str, int]


# Numbers from asm/unistd_64.h and asm-generic/unistd.h.
# Landlock does not see changes of a file's mode, owner, times, attributes or (in its first two versions) length.
_ARCHITECTURES: dict[str, _Architecture] = {
    "x86_64": _Architecture(
        audit=0xC000003E, seccomp=317, clone=56, tgkill=234, prlimit=302,
        refused={
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
        refused={
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


def restrict() -> None:
    """Give up the network, other processes and other programs, in all threads. Needs PR_SET_NO_NEW_PRIVS.

    Raises:
        OSError: the kernel would not have it.
    """
    known = _ARCHITECTURES.get(platform.machine())
    if known is None:  # resources and files are restricted all the same
        return
    code = _filter(known)
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(known.seccomp, _SET_MODE_FILTER, _FLAG_TSYNC, ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def _filter(known: _Architecture) -> bytes:
    """Another architecture's calls kill, the refused ones fail with EPERM, the rest pass."""
    refused = sorted(known.refused.values())
    lines = [
        (_LOAD, 0, 0, 4),  # struct seccomp_data: arch
        (_JUMP_EQUAL, 1, 0, known.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # struct seccomp_data: nr
        (_JUMP_ABOVE, 0, 1, _X32 - 1),
        (_RETURN, 0, 0, _REFUSE),
        (_JUMP_EQUAL, 0, 1, _CLONE3),  # its flags lie in memory, which a filter can't read; libc then takes clone
        (_RETURN, 0, 0, _UNKNOWN),
        *_only_if(known.clone, _JUMP_SET, _CLONE_THREAD),
        *_only_if(known.tgkill, _JUMP_EQUAL, os.getpid()),
        *_only_if(known.prlimit, _JUMP_EQUAL, 0),
        *((_JUMP_EQUAL, len(refused) - index, 0, number) for index, number in enumerate(refused)),
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
