"""The fuzz target: one file through a transform, as a child runs it. Run by ``tests.fuzz``, with libFuzzer's options.

Coverage guides the fuzzer through PixelFlow's own code: detection, readers of headers and profiles, planning. The
decoders of libvips are not instrumented.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pixelflow.imaging"]):
    from tests.fuzz.pipelines import request_for
    from tests.support.rendering import set_up_libvips

    from pixelflow.errors import JobError
    from pixelflow.imaging.engine import Transform


def run(data: bytes) -> None:
    """Transform the file; every end but outputs or a coded failure is a crash."""
    source, output = os.memfd_create("source"), os.memfd_create("output")
    try:
        os.write(source, data)
        Transform(request_for(data), source).run(output)
    except JobError as error:
        if not error.detail:
            raise AssertionError(error.code) from error
    finally:
        os.close(source)
        os.close(output)


def main() -> None:
    """Fuzz until libFuzzer's options end it."""
    with tempfile.TemporaryDirectory() as folder:
        set_up_libvips(Path(folder))
        atheris.Setup(sys.argv, run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
