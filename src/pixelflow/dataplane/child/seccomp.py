"""The filter of a transform child's system calls (seccomp(2)): what the engine needs, and nothing else.

The list is what ``strace`` shows over all formats, operations, scripts and errors. A call that is not on it fails with
EPERM, so that libraries can go another way. On other processors than x86-64 and ARM64 there is no filter.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

_libc = ctypes.CDLL(None, use_errno=True)

_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000  # SECCOMP_RET_ALLOW, _ERRNO, _KILL_PROCESS
_DENY = _ERRNO | 1  # EPERM
_NOT_IMPLEMENTED, _NOT_A_TERMINAL = _ERRNO | 38, _ERRNO | 25  # ENOSYS, ENOTTY
_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_PROT_EXEC = 4
_PR_SET_NAME = 15
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_DESCRIPTOR_COMMANDS = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC

_Instruction: TypeAlias = tuple[int, int, int, int]
_INSTRUCTION_BYTES = 8
_NO_PROCESS = 0xFFFFFFFF
"""Stands for the id of the process that the filter restricts, until it is known."""
_IS_OWN_PROCESS: _Instruction = (_JUMP_EQUAL, 0, 1, _NO_PROCESS)

# Numbers from asm/unistd_64.h and asm-generic/unistd.h, frequent calls first.
_X86_64 = {
    "futex": 202, "read": 0, "lseek": 8, "write": 1, "close": 3, "dup": 32, "fstat": 5, "newfstatat": 262,
    "stat": 4, "lstat": 6, "statx": 332, "access": 21, "faccessat": 269, "faccessat2": 439, "readlink": 89,
    "readlinkat": 267, "munmap": 11, "mremap": 25, "madvise": 28, "brk": 12, "pread64": 17, "writev": 20, "readv": 19,
    "getdents64": 217, "statfs": 137, "fstatfs": 138, "getcwd": 79, "fadvise64": 221,
    "getrandom": 318, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sigaltstack": 131,
    "set_robust_list": 273, "rseq": 334, "gettid": 186, "getpid": 39, "getuid": 102, "geteuid": 107, "getgid": 104,
    "getegid": 108, "exit": 60, "exit_group": 231, "restart_syscall": 219, "sched_yield": 24, "clock_gettime": 228,
    "clock_getres": 229, "clock_nanosleep": 230, "nanosleep": 35, "gettimeofday": 96, "getrusage": 98, "uname": 63,
    "sysinfo": 99, "ftruncate": 77,
}  # fmt: skip
_AARCH64 = {
    "futex": 98, "read": 63, "lseek": 62, "write": 64, "close": 57, "dup": 23, "fstat": 80, "newfstatat": 79,
    "statx": 291, "faccessat": 48, "faccessat2": 439, "readlinkat": 78, "munmap": 215, "mremap": 216, "madvise": 233,
    "brk": 214, "pread64": 67, "writev": 66, "readv": 65, "getdents64": 61, "statfs": 43, "fstatfs": 44, "getcwd": 17,
    "fadvise64": 223, "getrandom": 278, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
    "sigaltstack": 132, "set_robust_list": 99, "rseq": 293, "gettid": 178, "getpid": 172, "getuid": 174,
    "geteuid": 175, "getgid": 176, "getegid": 177, "exit": 93, "exit_group": 94, "restart_syscall": 128,
    "sched_yield": 124, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "nanosleep": 101,
    "gettimeofday": 169, "getrusage": 165, "uname": 160, "sysinfo": 179, "ftruncate": 46,
}  # fmt: skip


@dataclass(frozen=True)
class _Architecture:
    audit: int
    """AUDIT_ARCH_…"""
    seccomp: int
    allowed: Mapping[str, int]
    checked: Mapping[str, int]
    """Calls that are allowed with certain arguments."""


_ARCHITECTURES = {
    "x86_64": _Architecture(
        audit=0xC000003E, seccomp=317, allowed=_X86_64,
        checked={
            "openat": 257, "mmap": 9, "mprotect": 10, "fcntl": 72, "prctl": 157, "clone": 56, "tgkill": 234,
            "prlimit64": 302, "sched_getaffinity": 204, "recvmsg": 47, "recvfrom": 45, "sendmsg": 46, "sendto": 44,
            "ioctl": 16, "clone3": 435, "openat2": 437,
        },
    ),
    "aarch64": _Architecture(
        audit=0xC00000B7, seccomp=277, allowed=_AARCH64,
        checked={
            "openat": 56, "mmap": 222, "mprotect": 226, "fcntl": 25, "prctl": 167, "clone": 220, "tgkill": 131,
            "prlimit64": 261, "sched_getaffinity": 123, "recvmsg": 212, "recvfrom": 207, "sendmsg": 211, "sendto": 206,
            "ioctl": 29, "clone3": 435, "openat2": 437,
        },
    ),
}  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def is_supported() -> bool:
    """Whether there is a filter for this processor."""
    return platform.machine() in _ARCHITECTURES


class Filter:
    """A filter, a classic BPF program. The template makes it once: that would take 0.6 ms of each child."""

    def __init__(self, *, control: int, machine: str | None = None) -> None:
        """Make the filter.

        Args:
            control: descriptor of the only socket that may be used.
            machine: the processor; default: this one.
        """
        self.architecture = _ARCHITECTURES.get(machine or platform.machine())
        instructions = _filter(self.architecture, control) if self.architecture else []
        self._code = b"".join(map(_packed, instructions))
        self._own = [place for place, each in enumerate(instructions) if each == _IS_OWN_PROCESS]

    def code(self) -> bytes:
        """Return the program for the calling process."""
        code, own = bytearray(self._code), _packed((*_IS_OWN_PROCESS[:3], os.getpid()))
        for place in self._own:
            code[place * _INSTRUCTION_BYTES : (place + 1) * _INSTRUCTION_BYTES] = own
        return bytes(code)


def restrict_system_calls(system_calls: Filter) -> None:
    """Restrict this process, in all its threads, to the calls of the list.

    Covers threads that libraries have already started. Requires PR_SET_NO_NEW_PRIVS.

    Raises:
        OSError: the kernel rejected the filter.
    """
    if system_calls.architecture is None:  # resources and files are still restricted
        return
    code = system_calls.code()
    program = _Program(len(code) // _INSTRUCTION_BYTES, code)
    if _libc.syscall(system_calls.architecture.seccomp, _SET_MODE_FILTER, _FLAG_TSYNC, ctypes.byref(program)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _packed(instruction: _Instruction) -> bytes:
    return struct.pack("HBBI", *instruction)


def _filter(architecture: _Architecture, control: int) -> list[_Instruction]:
    """Calls of another architecture kill the process; what is not on the list fails with EPERM."""
    call = architecture.checked
    sockets = [
        instruction
        for name in ("recvmsg", "recvfrom", "sendmsg", "sendto")
        for instruction in _allow_if(call[name], 0, _equal(control))
    ]
    return [
        (_LOAD, 0, 0, 4),  # struct seccomp_data: arch
        (_JUMP_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # struct seccomp_data: nr
        (_JUMP_ABOVE, 0, 1, _X32 - 1),
        (_RETURN, 0, 0, _DENY),
        *(each for number in architecture.allowed.values() for each in _return(number, _ALLOW)),
        *_allow_if(call["mmap"], 2, _none_of(_PROT_EXEC)),
        *_allow_if(call["mprotect"], 2, _none_of(_PROT_EXEC)),
        *_allow_if(call["openat"], 2, _none_of(_WRITING)),
        *_allow_if(call["fcntl"], 1, *map(_equal, _DESCRIPTOR_COMMANDS)),
        *_allow_if(call["prctl"], 0, _equal(_PR_SET_NAME)),
        *_allow_if(call["clone"], 0, _any_of(_CLONE_THREAD)),
        *_allow_if(call["tgkill"], 0, _equal(_NO_PROCESS)),
        *_allow_if(call["sched_getaffinity"], 0, _equal(0)),
        *_allow_reading_limits(call["prlimit64"]),
        *sockets,
        *_return(call["ioctl"], _NOT_A_TERMINAL),  # what libc and Python ask of a new file
        *_return(call["clone3"], _NOT_IMPLEMENTED),  # its flags are in memory, out of reach; libc falls back to clone
        *_return(call["openat2"], _NOT_IMPLEMENTED),
        (_RETURN, 0, 0, _DENY),
    ]


_Test: TypeAlias = tuple[int, int, bool]
"""Comparison, value, and whether the argument passes if it is true."""


def _equal(value: int) -> _Test:
    return _JUMP_EQUAL, value, True


def _any_of(bits: int) -> _Test:
    return _JUMP_SET, bits, True


def _none_of(bits: int) -> _Test:
    return _JUMP_SET, bits, False


def _return(number: int, action: int) -> list[_Instruction]:
    return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, action)]


def _allow_if(number: int, argument: int, *tests: _Test) -> list[_Instruction]:
    """Allow a call if its argument passes one of the tests, else deny it; other calls fall through."""
    checks: list[_Instruction] = []
    for comparison, value, expected in tests:
        checks += [(comparison, 0, 1, value) if expected else (comparison, 1, 0, value), (_RETURN, 0, 0, _ALLOW)]
    body = [_load_argument(argument), *checks, (_RETURN, 0, 0, _DENY)]
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _allow_reading_limits(number: int) -> list[_Instruction]:
    """Allow ``prlimit64(0, …, NULL, …)``, which changes nothing."""
    tests = [_load_argument(0), _load_argument(2), _load_argument(2, upper=True)]
    body: list[_Instruction] = []
    for load in tests:
        body += [load, (_JUMP_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _DENY)]
    body.append((_RETURN, 0, 0, _ALLOW))
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _load_argument(index: int, *, upper: bool = False) -> _Instruction:
    return _LOAD, 0, 0, 16 + 8 * index + 4 * upper  # struct seccomp_data: args
