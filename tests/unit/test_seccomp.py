"""The filter of system calls, interpreted for both processors: machines of ARM64 are rare where tests run."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

import pytest
from tests.support.system_calls import NUMBERS

from pixelflow.dataplane.child import seccomp

ALLOW, KILL, EPERM, ENOSYS, ENOTTY = "allow", "kill", "EPERM", "ENOSYS", "ENOTTY"
ACTIONS = {0x7FFF0000: ALLOW, 0x80000000: KILL, 0x00050001: EPERM, 0x00050026: ENOSYS, 0x00050019: ENOTTY}
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64 of linux/audit.h."""
CONTROL = 3

ALLOWED = {
    "access", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "dup", "exit", "exit_group",
    "faccessat", "faccessat2", "fadvise64", "fstat", "fstatfs", "ftruncate", "futex", "getcwd", "getdents64",
    "getegid", "geteuid", "getgid", "getpid", "getrandom", "getrusage", "gettid", "gettimeofday", "getuid", "lseek",
    "lstat", "madvise", "mremap", "munmap", "nanosleep", "newfstatat", "pread64", "read", "readlink", "readlinkat",
    "readv", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rseq", "sched_yield",
    "set_robust_list", "sigaltstack", "stat", "statfs", "statx", "sysinfo", "uname", "write", "writev",
}  # fmt: skip
"""What a child may call with any arguments. The numbers come from the kernel's headers, not from the filter."""
CHECKED: dict[tuple[str, tuple[int, ...]], str] = {
    ("openat", (0, 0, os.O_RDONLY | os.O_CLOEXEC)): ALLOW,
    ("openat", (0, 0, os.O_RDONLY | os.O_DIRECTORY)): ALLOW,
    ("openat", (0, 0, os.O_WRONLY)): EPERM,
    ("openat", (0, 0, os.O_RDWR)): EPERM,
    ("openat", (0, 0, os.O_RDONLY | os.O_CREAT)): EPERM,
    ("openat", (0, 0, os.O_RDONLY | os.O_TRUNC)): EPERM,
    ("openat", (0, 0, os.O_TMPFILE | os.O_RDWR)): EPERM,
    ("openat2", (0, 0, 0, 24)): ENOSYS,
    ("mmap", (0, 4096, 1 | 2)): ALLOW,
    ("mmap", (0, 4096, 1 | 4)): EPERM,
    ("mprotect", (0, 4096, 1)): ALLOW,
    ("mprotect", (0, 4096, 4)): EPERM,
    ("fcntl", (9, 3)): ALLOW,  # F_GETFL
    ("fcntl", (9, 1030)): ALLOW,  # F_DUPFD_CLOEXEC
    ("fcntl", (9, 4)): EPERM,  # F_SETFL
    ("fcntl", (9, 8)): EPERM,  # F_SETOWN
    ("fcntl", (9, 1024)): EPERM,  # F_SETLEASE
    ("prctl", (15,)): ALLOW,  # PR_SET_NAME
    ("prctl", (1,)): EPERM,  # PR_SET_PDEATHSIG
    ("prctl", (4,)): EPERM,  # PR_SET_DUMPABLE
    ("clone", (0x3D0F00,)): ALLOW,  # as glibc's pthread_create
    ("clone", (17,)): EPERM,  # as fork
    ("clone", (0x4111,)): EPERM,  # as vfork
    ("clone3", (0, 88)): ENOSYS,
    ("tgkill", (os.getpid(), 1, 6)): ALLOW,
    ("tgkill", (1, 1, 6)): EPERM,
    ("sched_getaffinity", (0,)): ALLOW,
    ("sched_getaffinity", (1,)): EPERM,
    ("prlimit64", (0, 9, 0, 1)): ALLOW,
    ("prlimit64", (1, 9, 0, 1)): EPERM,
    ("prlimit64", (0, 9, 1, 0)): EPERM,
    ("prlimit64", (0, 9, 1 << 32, 0)): EPERM,  # a pointer whose lower half is zero
    ("ioctl", (3, 0x5401)): ENOTTY,
    **{
        (name, (descriptor,)): ALLOW if descriptor == CONTROL else EPERM
        for name in ("recvmsg", "recvfrom", "sendmsg", "sendto")
        for descriptor in (CONTROL, 4, 0)
    },
}


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _number(machine: str, name: str) -> int | None:
    return NUMBERS[name][machine == "aarch64"]


def _program(machine: str) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("HBBI", seccomp.Filter(control=CONTROL, machine=machine).code()))


def _action(machine: str, number: int, arguments: Sequence[int] = (), audit: int | None = None) -> str:
    """Interpret the filter (Linux, Documentation/networking/filter.rst) and return its decision."""
    arguments = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, audit or AUDIT[machine], 0, *arguments)  # struct seccomp_data
    program = _program(machine)
    accumulator, place = 0, 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        match code:
            case 0x20:  # BPF_LD | BPF_W | BPF_ABS
                accumulator = struct.unpack_from("<I", data, operand)[0]
            case 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
                place += if_true if accumulator == operand else if_false
            case 0x25:  # BPF_JMP | BPF_JGT | BPF_K
                place += if_true if accumulator > operand else if_false
            case 0x45:  # BPF_JMP | BPF_JSET | BPF_K
                place += if_true if accumulator & operand else if_false
            case 0x06:  # BPF_RET | BPF_K
                return ACTIONS[operand]
            case _:
                pytest.fail(f"unknown instruction {code:#x}")


def test_every_call_of_the_kernel_is_allowed_or_denied_as_listed(machine: str) -> None:
    checked = {name for name, _ in CHECKED}
    numbers = {name: number for name in NUMBERS if (number := _number(machine, name)) is not None}
    decisions = {name: _action(machine, number) for name, number in numbers.items() if name not in checked}
    assert decisions == {name: ALLOW if name in ALLOWED else EPERM for name in decisions}
    assert len(decisions) > 250


def test_calls_are_checked_by_their_arguments(machine: str) -> None:
    decisions = {
        (name, arguments): _action(machine, _number(machine, name) or 0, arguments) for name, arguments in CHECKED
    }
    assert decisions == CHECKED


def test_unknown_calls_are_denied(machine: str) -> None:
    known = {_number(machine, name) for name in NUMBERS}
    for number in {*range(1024), 0x40000000, 0x40000000 + 59, 0x7FFFFFFF, 0xFFFFFFFF} - known:
        assert _action(machine, number) == EPERM


def test_calls_by_another_interface_kill_the_process(machine: str) -> None:
    others = {0x40000003, 0x40000028, *AUDIT.values()} - {AUDIT[machine]}  # i386 and ARM, whose numbers differ
    assert {_action(machine, number, audit=audit) for audit in others for number in range(500)} == {KILL}


def test_the_filter_is_short_and_jumps_only_inside_it(machine: str) -> None:
    program = _program(machine)
    assert len(program) <= 4096, "BPF_MAXINSNS"
    for place, (code, if_true, if_false, _) in enumerate(program):
        if code in {0x15, 0x25, 0x45}:
            assert place + 1 + max(if_true, if_false) < len(program)
    assert program[-1][0] == 0x06
