"""How a process that makes pictures is prepared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPEATED = """
import ctypes, resource, sys
from pathlib import Path
from pixelflow.imaging.runtime import prepare

prepare(Path(sys.argv[1]))
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(1 << 20) for _ in range(10)]
    for block in blocks:
        libc.memset(block, 1, 1 << 20)
    for block in reversed(blocks):
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(*(faults() for _ in range(4)))
"""


def test_freed_memory_is_used_again(tmp_path: Path) -> None:
    """In a process of its own, whose heap nothing else uses meanwhile."""
    command = [sys.executable, "-c", REPEATED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, *others = map(int, done.stdout.split())
    assert max(others) < first / 10, "the pages of the blocks, or only some of other things"


REHEARSED = """
import os, sys
from pathlib import Path
from pixelflow.imaging.rehearsal import rehearse
from pixelflow.imaging.runtime import prepare

prepare(Path(sys.argv[1]))
before = os.listdir("/proc/self/fd")
rehearse()
print(len(os.listdir("/proc/self/task")), os.listdir("/proc/self/fd") == before)
"""


def test_a_rehearsal_starts_no_thread_and_leaves_no_file_open(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REHEARSED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "True"]
