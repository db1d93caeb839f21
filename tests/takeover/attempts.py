"""What a child that was taken over tries, with the names that :mod:`tests.takeover.scene` and the program give it.

``worker``, ``template``, ``sibling`` (another user's child) and ``bystander`` (a process of the child's user that is
not PixelFlow's) are process ids; ``victim``, ``others_source`` and ``others_asset`` are files whose modes
let everyone read them.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """One attempt."""

    group: str
    name: str
    code: str
    """Raises an ``OSError`` or ``MemoryError`` if it is refused."""

    @property
    def allowed(self) -> bool:
        """Whether children need it, or docs/security.md states it as a known limit."""
        return self.group in {NEEDED, LIMITS}

    @property
    def harmless(self) -> bool:
        """Whether it may succeed in a child without confinement."""
        return self.name not in {
            "trace the worker", "trace the template", "create a namespace with a thread", "set the clock",
        }  # fmt: skip


NEEDED, LIMITS = "needed", "known limits"

_TRIES: dict[str, dict[str, str]] = {
    "files": {
        "read a file of the system": "open('/etc/passwd').read()",
        "read another job's source": "open(others_source).read()",
        "read another user's asset": "open(others_asset).read()",
        "list the scratch folder": "os.listdir(folder)",
        "list a folder of the system": "os.listdir('/etc')",
        "list the processes": "os.listdir('/proc')",
        "open its source anew": "os.open(f'/proc/self/fd/{source}', os.O_RDONLY)",
        "open by a handle": "system_call(nr['name_to_handle_at'], -100, victim.encode(), b'\\x80' + bytes(199), "
        "ctypes.create_string_buffer(8), 0)",
        "read a file by openat2": "system_call(nr['openat2'], -100, victim.encode(), bytes(24), ctypes.c_size_t(24))",
        "write to a file": "open(victim, 'a').write('x')",
        "write to a file by the old open": "system_call(nr.get('open', nr['openat2']), victim.encode(), os.O_RDWR)",
        "write to a device": "open('/dev/null', 'w')",
        "create a file in the scratch folder": "create(folder)",
        "create a file in /tmp": "create('/tmp')",
        "create a file in /dev/shm": "create('/dev/shm')",
        "create a file beside the libraries": "create(library)",
        "create an unnamed file": "os.open(folder, os.O_TMPFILE | os.O_RDWR)",
        "create a file in memory": "os.memfd_create('x')",
        "create a secret file in memory": "system_call(nr['memfd_secret'], 0)",
        "create a folder": "os.mkdir(folder / 'new')",
        "create a symbolic link": "os.symlink('/etc', folder / 'new')",
        "create a hard link": "os.link(victim, folder / 'new')",
        "create a named pipe": "os.mkfifo(folder / 'new')",
        "create a device": "os.mknod(folder / 'new')",
        "truncate a file": "os.truncate(victim, 0)",
        "delete a file": "os.unlink(victim)",
        "delete a folder": "os.rmdir(folder / 'empty')",
        "move a file": "os.rename(victim, folder / 'new')",
        "change a file's mode": "os.chmod(victim, 0o777)",
        "change a file's owner": "os.chown(victim, os.getuid(), os.getgid())",
        "change a file's times": "os.utime(victim)",
        "set an extended attribute": "os.setxattr(victim, 'user.x', b'x')",
        "lock a file": "fcntl.flock(source, fcntl.LOCK_EX)",
        "watch files": "system_call(nr['inotify_init1'], 0)",
        "change the folder that it works in": "os.chdir('/tmp')",
    },
    "its own files": {
        "write to its source": "os.write(source, b'x')",
        "truncate its source": "truncate(source)",
        "map its source for writing": "mmap.mmap(source, 10)",
        "write to its asset": "os.write(asset, b'x')",
        "truncate its asset": "truncate(asset)",
        "open its asset anew": "os.open(f'/proc/self/fd/{asset}', os.O_RDONLY)",
        "map its asset for writing": "mmap.mmap(asset, 10)",
        "change its outputs' mode": "os.fchmod(output, 0o777)",
        "write its outputs beyond the bound": "for _ in range(99): os.write(output, bytes(1 << 20))",
        "write one byte beyond the bound": "os.lseek(output, bound, 0); os.write(output, b'x')",
        "enlarge its outputs beyond the bound": "os.ftruncate(output, bound + 1)",
        "reserve disk beyond the bound": "os.posix_fallocate(output, 0, bound + 1)",
        "seal or lease its outputs": "fcntl.fcntl(output, fcntl.F_SETLEASE, fcntl.F_WRLCK)",
    },
    "secrets": {
        "read the worker's environment": "open(f'/proc/{worker}/environ').read()",
        "read the template's environment": "open(f'/proc/{template}/environ').read()",
        "read another child's environment": "open(f'/proc/{sibling}/environ').read()",
        "read the environment of a process of its user": "open(f'/proc/{bystander}/environ').read()",
        "read the command line of a process of its user": "open(f'/proc/{bystander}/cmdline').read()",
        "see the files of a process of its user": "os.readlink(f'/proc/{bystander}/fd/0')",
        "see the program of a process of its user": "os.readlink(f'/proc/{bystander}/exe')",
        "read its own environment": "open('/proc/self/environ').read()",
        "open its own memory for writing": "open('/proc/self/mem', 'r+b')",
        "read a key of the kernel's key ring": "system_call(nr['keyctl'], 0, -4, 1)",
        "add a key to the kernel's key ring": "system_call(nr['add_key'], b'user', b'x', b'x', ctypes.c_size_t(1), -1)",
        "read the kernel's log": "system_call(nr['syslog'], 10, None, 0)",
    },
    "other processes": {
        **{
            f"{verb} {whom}": code.replace("PID", pid)
            for verb, code in {
                "trace": "system_call(nr['ptrace'], 0x4206, PID, 0, 0)",
                "read the memory of": "open(f'/proc/{PID}/mem', 'rb')",
                "copy from the memory of": "copy_memory(nr['process_vm_readv'], PID)",
                "write to the memory of": "copy_memory(nr['process_vm_writev'], PID)",
                "take a descriptor of": "system_call(nr['pidfd_getfd'], system_call(nr['pidfd_open'], PID, 0), 0, 0)",
                "send a signal to": "os.kill(PID, 0)",
                "send a signal to a thread of": "system_call(nr['tgkill'], PID, PID, 0)",
                "queue a signal for": "system_call(nr['rt_sigqueueinfo'], PID, 0, b'\\0\\0\\0\\0' * 2 + "
                "(-1).to_bytes(4, 'little', signed=True) + bytes(116))",
                "signal by a pidfd": "signal.pidfd_send_signal(system_call(nr['pidfd_open'], PID, 0), 0)",
                "change the limits of": "system_call(nr['prlimit64'], PID, 4, (ctypes.c_ulong * 2)(0, 0), None)",
                "read the limits of": "system_call(nr['prlimit64'], PID, 7, None, (ctypes.c_ulong * 2)())",
                "change the priority of": "os.setpriority(os.PRIO_PROCESS, PID, 1)",
                "change the I/O priority of": "system_call(nr['ioprio_set'], 1, PID, (2 << 13) + 5)",
                "change the scheduling of": "os.sched_setscheduler(PID, os.SCHED_BATCH, os.sched_param(0))",
                "change the processors of": "os.sched_setaffinity(PID, {0})",
                "see the processors of": "os.sched_getaffinity(PID)",
            }.items()
            for whom, pid in {"the worker": "worker", "the template": "template", "another child": "sibling",
                              "a process of its user": "bystander"}.items()
        },
        "signal all processes": "os.kill(-1, 0)",
        "signal its process group": "os.kill(0, 0)",
        "have the kernel signal the worker": "fcntl.fcntl(job.worker, fcntl.F_SETOWN, worker)",
        "share memory by System V": "libc.shmctl(system_call(nr['shmget'], 0, 4096, 0o600), 0, None)",
        "queue messages by System V": "libc.msgctl(system_call(nr['msgget'], 0, 0o600), 0, None)",
        "share semaphores by System V": "libc.semctl(system_call(nr['semget'], 0, 1, 0o600), 0, 0)",
        "queue messages by POSIX": "name = mark.encode(); system_call(nr['mq_open'], name, 0o102, 0o600, None); "
        "system_call(nr['mq_unlink'], name)",
    },
    "programs": {
        "execute a program": "os.execv('/bin/true', ['true'])",
        "execute a program by its descriptor": "os.execve(os.open('/bin/true', os.O_RDONLY), ['true'], {})",
        "start a program": "os.posix_spawn('/bin/true', ['true'], {})",
        "fork": "os.fork() or os._exit(0)",
        "fork by the old call": "system_call(nr.get('fork', nr['clone']), 17, 0, 0, 0, 0) or os._exit(0)",
        "fork by clone": "system_call(nr['clone'], 17, 0, 0, 0, 0) or os._exit(0)",
        "fork by clone3": "system_call(nr['clone3'], (17 << 32).to_bytes(40, 'little') + bytes(48), "
        "ctypes.c_size_t(88)) or os._exit(0)",
        "make memory executable": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
        "make memory executable afterwards": "made = mmap.mmap(-1, 4096); system_call(nr['mprotect'], "
        "ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(made))), ctypes.c_size_t(4096), 5)",
        "map a library as executable": "mmap.mmap(os.open(sys.executable, os.O_RDONLY), 4096, mmap.MAP_PRIVATE, "
        "mmap.PROT_READ | mmap.PROT_EXEC)",
    },
    "network": {
        "open a socket of any family": "any_socket()",
        "connect to the database": "socket.create_connection(('127.0.0.1', port))",
        "connect to a Unix socket": "socket.socket(socket.AF_UNIX).connect(unix_socket)",
        "connect to an abstract socket": "socket.socket(socket.AF_UNIX).connect('\\0' + mark)",
        "open a pair of sockets": "socket.socketpair()",
        "bind its socket": "job.worker.bind('\\0' + mark + 'x')",
        "send elsewhere by its socket": "job.worker.sendto(b'x', unix_socket)",
        "set an option of its socket": "job.worker.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)",
        "receive by a copy of its socket": "socket.fromfd(3, 1, 1).recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)",
        "send by a copy of its socket": "socket.fromfd(3, 1, 1).send(b'')",
        "make its socket signal it": "fcntl.ioctl(3, 0x5452, b'\\1\\0\\0\\0')",
    },
    "privileges": {
        "become root": "os.setuid(0)",
        "become another user": "os.setresuid(2, 2, 2)",
        "join a group": "os.setgroups([0])",
        "take capabilities": "system_call(nr['capset'], (0x20080522).to_bytes(8, 'little'), bytes(24))",
        "create a namespace": "system_call(nr['unshare'], 0x10000000)",
        "create a namespace with a thread": "system_call(nr['clone'], 0x40010900, 0, 0, 0, 0)",
        "enter a namespace": "system_call(nr['setns'], os.open('/proc/self/ns/uts', os.O_RDONLY), 0)",
        "enter a namespace by a pidfd": "system_call(nr['setns'], "
        "system_call(nr['pidfd_open'], os.getpid(), 0), 1 << 26)",
        "change the root": "os.chroot('/')",
        "mount": "system_call(nr['mount'], b'x', str(folder / 'empty').encode(), b'tmpfs', 0, None); "
        "system_call(nr['umount2'], str(folder / 'empty').encode(), 2)",
        "open a file system": "system_call(nr['fsopen'], b'tmpfs', 0)",
        "be readable by others": "system_call(nr['prctl'], 4, 1)",
        "outlive its template": "system_call(nr['prctl'], 1, 0)",
        "leave its session": "system_call(nr['setsid'])",
        "raise its limits": "system_call(nr['prlimit64'], 0, 7, (ctypes.c_ulong * 2)(64, 64), None)",
        "raise its own priority": "os.setpriority(os.PRIO_PROCESS, 0, -1)",
        "lower its own priority": "os.setpriority(os.PRIO_PROCESS, 0, 1)",
        "change its own scheduling": "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))",
        "change its own I/O priority": "system_call(nr['ioprio_set'], 1, 0, (2 << 13) + 5)",
        "change its own processors": "os.sched_setaffinity(0, {0})",
        "change its score of the memory killer": "open('/proc/self/oom_score_adj', 'w').write('0')",
        **({"call by the 32-bit interface": "gate32()"} if platform.machine() == "x86_64" else {}),
    },
    "the kernel": {
        "io_uring": "system_call(nr['io_uring_setup'], 1, ctypes.create_string_buffer(120))",
        "asynchronous I/O": "system_call(nr['io_setup'], 1, ctypes.byref(ctypes.c_ulong()))",
        "bpf": "system_call(nr['bpf'], 0, (1).to_bytes(4, 'little') + (4).to_bytes(4, 'little') * 2 + "
        "(1).to_bytes(4, 'little') + bytes(56), 72)",
        "perf_event_open": "system_call(nr['perf_event_open'], (1).to_bytes(4, 'little') + (112).to_bytes(4, 'little') "
        "+ bytes(32) + (0x60).to_bytes(8, 'little') + bytes(64), 0, -1, -1, 0)",
        "userfaultfd": "system_call(nr['userfaultfd'], 1)",
        "another seccomp filter": "system_call(nr['seccomp'], 2, 0, bytes(4))",
        "fanotify": "system_call(nr['fanotify_init'], 0x200, 0)",
        "personality": "system_call(nr['personality'], 0xffffffff)",
        "load a module": "system_call(nr['init_module'], b'', 0, b'')",
        "set the clock": "time.clock_settime(time.CLOCK_REALTIME, time.time())",
        "set the host's name": "socket.sethostname(socket.gethostname())",
        "lock memory": "system_call(nr['mlockall'], 1)",
        "a call of x32": "system_call(0x40000000 + nr['getppid'])",
        "a call that does not exist": "system_call(1000)",
        "kcmp": "system_call(nr['kcmp'], os.getpid(), os.getpid(), 0, 0, 0)",
        "timers": "system_call(nr['timer_create'], 1, None, ctypes.byref(ctypes.c_int()))",
        "copy from file to file in the kernel": "system_call(nr['sendfile'], output, source, None, 4)",
    },
    "resources": {
        "allocate memory beyond the bound": "bytearray(memory + 1)",
        "map memory beyond the bound": "mmap.mmap(-1, memory + 1)",
        "open files without end": "[os.dup(0) for _ in range(300)]",
        "start threads without end": "start_threads(many)",
        "fill its standard error": "for _ in range(99): os.write(2, bytes(4096))",
    },
    LIMITS: {
        "see whether a file exists, and its attributes": "os.stat('/etc/shadow')",
        "see whether a process exists": "os.stat(f'/proc/{worker}')",
        "read a symbolic link": "os.readlink('/etc/localtime') if os.path.islink('/etc/localtime') else 0",
        "see the size of a disk": "os.statvfs(folder)",
    },
    NEEDED: {
        "read its source": "assert os.read(source, 1) == b'{'",
        "read its asset": "assert os.read(asset, 4) == b'logo'",
        "write its outputs up to the bound": "os.lseek(output, bound - 1, 0); os.write(output, b'x')",
        "start a thread": "threading.Thread(target=print).start()",
        "read its own limits": "assert resource.getrlimit(resource.RLIMIT_AS)[0] == memory",
        "load a module of Python": "import colorsys",
    },
}  # fmt: skip


def attempts() -> Iterator[Attempt]:
    """All of them, in order."""
    for group, tries in _TRIES.items():
        for name, code in tries.items():
            yield Attempt(group, name, code)
