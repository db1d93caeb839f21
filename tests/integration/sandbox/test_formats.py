"""Every format in a confined child: decoders work without files, threads of their own, or libraries loaded late."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.sandbox.sandboxes import Work, opened_sandbox, step, template_of, transformed
from tests.unit.imaging.every_format import SOURCES

from pixelflow.dataplane.worker.sandbox import Sandbox
from pixelflow.errors import UndecodableError
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Work]]:
    folder = tmp_path_factory.mktemp("formats")
    with opened_sandbox(folder, slots=1) as sandbox:
        yield sandbox, Work(folder)


@pytest.mark.parametrize("name", SOURCES)
def test_a_confined_child_reads_every_format(shared: tuple[Sandbox, Work], name: str) -> None:
    sandbox, work = shared
    with transformed(
        sandbox, work.request(SOURCES[name](), step(format="png"), step("large", 120, format="png"))
    ) as done:
        assert (done.source.format, done.source.width, done.source.height) == (name, 120, 80)
        assert [(output.width, output.height) for output in done.outputs] == [(60, 40), (120, 80)]


@pytest.mark.parametrize("name", OUTPUT_FORMATS)
def test_a_confined_child_writes_every_format(shared: tuple[Sandbox, Work], name: str) -> None:
    """The worker reads the size of each output from its header."""
    sandbox, work = shared
    with transformed(sandbox, work.request(SOURCES["png"](), step(format="png"), step("other", format=name))) as done:
        assert [(output.format, output.width, output.height) for output in done.outputs] == [
            ("png", 60, 40),
            (name, 60, 40),
        ]


def test_a_tag_that_states_more_values_than_memory_holds_is_damage(shared: tuple[Sandbox, Work]) -> None:
    """Libtiff reads them before it looks at the size of the file."""
    content = bytearray(SOURCES["tiff"]())
    (directory,) = struct.unpack_from("<I", content, 4)
    compression = content.index(struct.pack("<HHI", 259, 3, 1), directory)
    struct.pack_into("<II", content, compression + 4, 741_092_353, 741_092_396)
    sandbox, work = shared
    with pytest.raises(UndecodableError), transformed(sandbox, work.request(bytes(content))):
        pass


def test_the_decoders_start_no_thread_in_the_template(shared: tuple[Sandbox, Work]) -> None:
    status = Path(f"/proc/{template_of(shared[0])}/status").read_text(encoding="ascii")
    assert "\nThreads:\t1\n" in status
