"""The program of a child that an attacker controls: the real template and confinement, but the source is Python code.

Only the transform is replaced. The source of each job is a JSON object: names, and an ``attempt`` or a ``script`` that
uses them. The result of an attempt is sent to the worker as the text of a rejection.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pixelflow.dataplane.child import confinement, main, seccomp, serving

_libc = ctypes.CDLL(None, use_errno=True)
_MAX_CODE = 1024 * 1024
_MAPPED: list[mmap.mmap] = []
_MODULES = (ctypes, fcntl, mmap, os, resource, serving, signal, socket, sys, threading, time)


def run(*, confined: bool = True) -> None:
    """Run the template with the transform replaced; without confinement, to show what the attempts would do."""
    if not confined:
        _remove_confinement()
    names = {module.__name__.rpartition(".")[2]: module for module in _MODULES} | {"gate32": _gate32()}
    serving.serve = lambda worker: _serve(worker, names)
    main.main()


def _remove_confinement() -> None:
    def skip(*_: object, **__: object) -> bool:
        return True

    for name in ("limit_resources", "limit_threads", "limit_cpu", "disable_dumpable", "restrict_files", "become_user"):
        setattr(confinement, name, skip)
    seccomp.restrict_system_calls = skip  # type: ignore[assignment]  # its result is not used


def _gate32() -> Callable[[], int] | None:
    """Machine code for ``getpid`` by the 32-bit interface, which a real attacker would find in a library."""
    if platform.machine() != "x86_64":
        return None
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    _MAPPED.append(memory)
    return function


def _serve(worker: socket.socket, modules: dict[str, Any]) -> None:
    worker.sendall(serving.READY)
    while True:
        line, descriptors = serving._receive(worker)
        if not line:
            return
        source, output, asset = descriptors
        exploit = json.loads(os.pread(source, _MAX_CODE, 0))
        job = Job(worker, json.loads(line)["request_id"])
        given = {**exploit["names"], "folder": Path(exploit["names"]["folder"]), "source": source, "output": output}
        given["asset"] = asset
        names = {**modules, **_FUNCTIONS, "job": job, **given}
        if "attempt" in exploit:
            job.refuse(_result(exploit["attempt"], names))
        else:
            exec(exploit["script"], names)  # noqa: S102  # the purpose
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _result(code: str, names: dict[str, Any]) -> str:
    try:
        exec(code, names)  # noqa: S102  # the purpose
    except OSError as error:
        return f"refused {errno.errorcode.get(error.errno or 0, error.errno)}"
    except MemoryError:
        return "refused ENOMEM"
    except BaseException as error:  # noqa: BLE001  # the attempt is wrong
        return f"broken {type(error).__name__}: {error}"
    return "done"


def system_call(number: int, *arguments: object) -> int:
    """Call the kernel.

    Raises:
        OSError: it refused.
    """
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def create(folder: str) -> None:
    """Create a file in a folder, and delete it."""
    path = Path(folder, "pixelflow-takeover")
    path.write_text("x")
    path.unlink()


def any_socket() -> None:
    """Open a socket of any family and type."""
    refused: OSError | None = None
    for family in range(1, 46):
        for kind in (1, 2, 3, 5):
            try:
                socket.socket(family, kind).close()
            except OSError as error:
                refused = error
            else:
                return
    assert refused
    raise refused


_BYTE = ctypes.create_string_buffer(1)


def copy_memory(number: int, pid: int) -> None:
    """Copy a byte from or to another process, at an address that all children of the template have."""
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(_BYTE), 1)
    system_call(number, pid, vector, ctypes.c_ulong(1), vector, ctypes.c_ulong(1), ctypes.c_ulong(0))


def open_descriptors() -> set[int]:
    """Return the descriptors that the process has."""
    found = set()
    for descriptor in range(confinement.MAX_OPEN_FILES):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            found.add(descriptor)
    return found


def start_threads(number: int) -> None:
    """Start threads that wait, until there are so many."""
    threading.stack_size(64 * 1024)
    end = threading.Event()
    try:
        for _ in range(number):
            threading.Thread(target=end.wait, daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "refused") from error
    finally:
        end.set()


def truncate(descriptor: int) -> None:
    """Empty a file. Of a descriptor that is read-only, ftruncate(2) reports EINVAL, where other calls report EBADF."""
    try:
        os.ftruncate(descriptor, 0)
    except OSError as error:
        if error.errno == errno.EINVAL and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "descriptor is read-only") from error
        raise


_CALLABLES = (Path, truncate, system_call, create, any_socket, copy_memory, open_descriptors, start_threads)
_FUNCTIONS = {each.__name__: each for each in _CALLABLES} | {"libc": _libc}


class Job:
    """What a script sends to the worker."""

    def __init__(self, worker: socket.socket, request_id: str) -> None:
        self.worker = worker
        self.request_id = request_id

    def send(self, message: dict[str, Any]) -> None:
        """Send a message as a reply to the request, unless it has another ``request_id``."""
        self.worker.sendall(json.dumps({"request_id": self.request_id, **message}).encode() + b"\n")

    def refuse(self, text: str, descriptors: Sequence[int] = (), **changes: str) -> None:
        """Reject the job; attach descriptors."""
        detail = text[:2000].replace("\n", " ")
        message = {"request_id": self.request_id, "kind": "refused", "code": "step_failed", "detail": detail, **changes}
        socket.send_fds(self.worker, [json.dumps(message).encode() + b"\n"], descriptors)

    def plan(self) -> None:
        """Wait until the worker lets the transform begin."""
        self.send({"kind": "planned", "memory_bytes": 1})
        self.worker.recv(100)

    def render(self, output: int, content: bytes, **changes: object) -> None:
        """Write an output of 120 × 80 pixels and reply as the real child does."""
        self.plan()
        os.write(output, content)
        size = {"width": 120, "height": 80}
        made = {"step_id": "small", "format": "jpeg", **size, "offset": 0, "bytes": len(content)}
        self.send({"kind": "rendered", "source": {"format": "jpeg", **size}, "outputs": [made], **changes})
