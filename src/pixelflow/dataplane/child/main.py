"""The template of the transform children: a confined process that has loaded libvips and forks a child on request.

The worker starts it with an almost empty environment. It has a single thread, so that its forks are sound, and never
sees a byte of an image. Template and children must never access a database, a queue, object storage or settings.

    worker → template   ``fork``, with two descriptors: the child's socket and its stderr
    template → worker   its process id, or minus the errno of a fork that failed
    worker → template   ``reap <process id>``, after the child has ended
    template → worker   ``<wait status> <CPU seconds>``
"""

from __future__ import annotations

import argparse
import errno
import gc
import json
import os
import socket
import traceback
from contextlib import suppress
from pathlib import Path

from pixelflow import imaging
from pixelflow.dataplane.child import confinement, seccomp, serving
from pixelflow.imaging.extras import installed
from pixelflow.imaging.rehearsal import rehearse
from pixelflow.imaging.runtime import cache_fonts, libvips_version, prepare

_MAX_REQUEST_BYTES = 64
_CONTROL = 3
"""Descriptor of a child's socket."""
MAX_USES_OF_CPU_LIMIT = 2
"""CPU time of one child, as a multiple of the limit of one transform. A child is not reused once it has used a half."""


def main() -> None:
    """Serve the worker until it closes the socket."""
    options = _parse_options()
    confinement.limit_resources(memory_bytes=options.memory_bytes, file_bytes=options.file_bytes)
    worker = socket.socket(fileno=os.dup(0))
    _detach_standard_streams()
    broken = prepare(options.fonts)
    with suppress(Exception):  # it only makes children faster: what is missing fails in a child, with its reason
        rehearse()
    single_threaded = len(list(Path("/proc/self/task").iterdir())) == 1
    if single_threaded:
        _cache_fonts(options.fonts)
    confined = _confine(options) | {"single_threaded": single_threaded}
    system_calls = seccomp.Filter(control=_CONTROL)
    gc.collect()
    gc.freeze()
    extras = [name for name in installed() if name not in broken]
    report = {"confinement": confined, "libvips": libvips_version(), "extras": extras, "broken_extras": broken}
    worker.send(json.dumps(report).encode())
    while True:
        request, descriptors, _, _ = socket.recv_fds(worker, _MAX_REQUEST_BYTES, 2)
        match request.split():
            case [b"fork"]:
                worker.send(str(_fork(descriptors, worker, options, system_calls)).encode())
            case [b"reap", pid]:
                _, status, usage = os.wait4(int(pid), 0)
                worker.send(f"{status} {usage.ru_utime + usage.ru_stime}".encode())
            case _:  # closed
                return


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process id of the worker")
    parser.add_argument("--memory-bytes", type=int, required=True, help="limit of the address space")
    parser.add_argument("--file-bytes", type=int, required=True, help="limit of all outputs of a job")
    parser.add_argument("--cpu-seconds", type=int, required=True, help="CPU time limit of one transform")
    parser.add_argument("--fonts", type=Path, required=True, help="folder of fontconfig's cache")
    parser.add_argument("--user", type=int, required=True, help="user ID to change to from root")
    return parser.parse_args()


def _detach_standard_streams() -> None:
    """Move the socket off stdin, so that no library reads from it."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)


def _cache_fonts(folder: Path) -> None:
    """Let a process of its own render a text: that starts threads, and needs the folder to be writable."""
    pid = os.fork()
    if pid == 0:
        cache_fonts(folder)
        os._exit(0)
    os.waitpid(pid, 0)


def _confine(options: argparse.Namespace) -> dict[str, bool]:
    confinement.limit_threads(options.user if os.getuid() == 0 else os.getuid())
    landlock = confinement.restrict_files([options.fonts])
    package = Path(imaging.__file__)
    is_other_user = confinement.become_user(
        options.user, [Path(os.__file__), package, package.with_name("fonts"), options.fonts]
    )
    confinement.disable_dumpable()  # the exec enabled it; children have the same user, and must not read each other
    confinement.set_parent_death_signal(options.parent)  # a change of the user clears it
    return {
        "user": is_other_user,
        "landlock": landlock,
        "seccomp": seccomp.is_supported(),
    }


def _fork(
    descriptors: list[int], worker: socket.socket, options: argparse.Namespace, system_calls: seccomp.Filter
) -> int:
    """Fork a child and return its process id; if that fails, minus the errno: other users' children must live on."""
    template = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or errno.EAGAIN)
    if pid:
        for descriptor in descriptors:
            os.close(descriptor)
        return pid
    try:
        worker.detach()
        _keep_only(*descriptors)
        confinement.set_parent_death_signal(template)
        confinement.limit_cpu(seconds=MAX_USES_OF_CPU_LIMIT * options.cpu_seconds)
        control = socket.socket(fileno=_CONTROL)
        seccomp.restrict_system_calls(system_calls)
        serving.serve(control)
    except BaseException as error:  # noqa: BLE001  # the template's loop must never run in a child
        with suppress(OSError):  # the pipe may be full
            os.write(2, "".join(traceback.format_exception(error)).encode(errors="replace"))
        os._exit(1)
    os._exit(0)


def _keep_only(control: int, stderr: int) -> None:
    os.dup2(stderr, 1)
    os.dup2(stderr, 2)
    if control != _CONTROL:
        os.dup2(control, _CONTROL)
    os.closerange(_CONTROL + 1, confinement.MAX_OPEN_FILES)


if __name__ == "__main__":
    main()
