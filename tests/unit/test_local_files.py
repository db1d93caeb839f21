"""Files under local roots: writes are atomic, never overwrite, and never leave the roots."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest

from pixelflow.adapters.storage.local_files import OUTPUT_FOLDER, LocalFiles, user_folder
from pixelflow.errors import LocalFilesDisabledError, ObjectsUnavailableError, SourceGoneError

JOB = UUID(int=7)
BODY = b"a picture"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def files(root: Path) -> LocalFiles:
    return LocalFiles((root,))


@pytest.fixture
def output(files: LocalFiles, root: Path) -> Path:
    return Path(files.output_prefix(str(root / "photo.jpg"), JOB, 3)) / "small.webp"


def _everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _store(files: LocalFiles, path: object, body: io.BytesIO | None = None) -> None:
    files.store(body or io.BytesIO(BODY), str(path), media_type="image/webp")


def test_an_output_is_written_under_the_root_of_its_source(files: LocalFiles, root: Path, output: Path) -> None:
    _store(files, output)
    assert output == root / OUTPUT_FOLDER / str(JOB) / "3" / "small.webp"
    assert output.read_bytes() == BODY
    assert _everything_in(output.parent) == ["small.webp"]


def test_an_existing_file_is_not_replaced(files: LocalFiles, output: Path) -> None:
    _store(files, output, io.BytesIO(b"the first"))
    with pytest.raises(FileExistsError):
        _store(files, output)
    assert output.read_bytes() == b"the first"
    assert _everything_in(output.parent) == ["small.webp"]


class _Breaking(io.BytesIO):
    def read(self, _size: int | None = -1, /) -> bytes:
        raise OSError("the source broke")


def test_an_interrupted_write_leaves_no_file(files: LocalFiles, output: Path) -> None:
    with pytest.raises(OSError, match="broke"):
        _store(files, output, _Breaking())
    assert _everything_in(output.parent) == []


def _outer_link(output: Path, outside: Path) -> None:
    output.parents[2].symlink_to(outside)


def _inner_link(output: Path, outside: Path) -> None:
    output.parents[1].mkdir(parents=True)
    output.parents[0].symlink_to(outside)


def _linked_target(output: Path, outside: Path) -> None:
    output.parent.mkdir(parents=True)
    output.symlink_to(outside / "taken")


def _linked_partial(output: Path, outside: Path) -> None:
    output.parent.mkdir(parents=True)
    output.with_name(f".{output.name}.partial").symlink_to(outside / "taken")


@pytest.mark.parametrize("lay", [_outer_link, _inner_link, _linked_target, _linked_partial])
def test_symbolic_links_are_not_followed_by_writes(
    files: LocalFiles, output: Path, tmp_path: Path, lay: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    lay(output, outside)
    with pytest.raises(OSError, match=r"small\.webp|Not a directory"):
        _store(files, output)
    assert _everything_in(outside) == []


@pytest.mark.parametrize("path", ["{root}/../elsewhere/a.webp", "{root}-like/a.webp", "/elsewhere/a.webp"])
def test_nothing_is_written_outside_of_the_roots(files: LocalFiles, root: Path, path: str) -> None:
    with pytest.raises(LocalFilesDisabledError):
        _store(files, path.format(root=root))
    assert _everything_in(root.parent) == ["root"]


def test_a_file_name_that_is_not_unicode_is_refused(files: LocalFiles, root: Path) -> None:
    unspeakable = os.fsencode(root) + b"/\xff.jpg"
    Path(os.fsdecode(unspeakable)).write_bytes(BODY)
    (root / "link.jpg").symlink_to(os.fsdecode(unspeakable))
    with pytest.raises(LocalFilesDisabledError):
        files.resolve(str(root / "link.jpg"), "user")


@pytest.mark.parametrize(
    ("user", "shared", "expected"),
    [
        ("alice", False, "in ROOT/alice/, your folder in a directory ROOT that PIXELFLOW_LOCAL_ROOTS allows"),
        ("a/b", False, "in ROOT/a%2Fb/, your folder"),
        ("..", False, "No folder can have your user ID as its name; local files need PIXELFLOW_LOCAL_ACCESS=shared"),
        ("alice", True, "must name a regular file under a directory that PIXELFLOW_LOCAL_ROOTS allows"),
    ],
)
@pytest.mark.parametrize("name", ["photo.jpg", "bob/photo.jpg", "missing.jpg", "../outside.jpg", "bob"])
def test_a_refusal_says_which_files_the_user_can_use_and_not_what_is_there(
    root: Path, name: str, user: str, shared: bool, expected: str
) -> None:
    (root / "bob").mkdir()
    for path in (root / "photo.jpg", root / "bob/photo.jpg", root.parent / "outside.jpg"):
        path.write_bytes(BODY)
    files = LocalFiles((root,), shared=shared)
    if shared and name.endswith("photo.jpg"):
        assert files.resolve(str(root / name), user) == str(root / name)
        return
    with pytest.raises(LocalFilesDisabledError) as refused:
        files.resolve(str(root / name), user)
    assert expected in refused.value.detail
    assert str(root) not in refused.value.detail


# ── Errors of the disk ───────────────────────────────────────────────────────────────────────────


def _fetch(files: LocalFiles, path: Path, copy: Path) -> tuple[int, str]:
    with copy.open("wb", buffering=0) as file:
        return files.fetch(str(path), file, max_bytes=100)


def _disk(*, free_blocks: int, free_inodes: int) -> Callable[[int], SimpleNamespace]:
    return lambda _: SimpleNamespace(f_blocks=9, f_bavail=free_blocks, f_files=9, f_favail=free_inodes)


def _failing(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ENOMEM])
def test_an_error_of_the_disk_is_not_the_fault_of_the_job(
    files: LocalFiles, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    photo = root / "photo.jpg"
    photo.write_bytes(BODY)
    monkeypatch.setattr(os, "open", _failing(number))
    with pytest.raises(ObjectsUnavailableError):
        _fetch(files, photo, tmp_path / "copy")
    with pytest.raises(ObjectsUnavailableError):
        files.size_of(str(photo))


def test_a_file_that_can_not_be_read_is_not_a_fault_of_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the memory of a process gives EIO."""
    monkeypatch.setattr(LocalFiles, "_require_outputs", lambda *_: None)  # nobody can write beside it
    memory = Path(f"/proc/{os.getpid()}/mem")
    with pytest.raises(ObjectsUnavailableError):
        _fetch(LocalFiles((memory.parent,)), memory, tmp_path / "copy")


def test_a_copy_that_can_not_be_written_is_a_fault_of_the_worker(files: LocalFiles, root: Path) -> None:
    (root / "photo.jpg").write_bytes(BODY)
    with Path("/dev/full").open("r+b", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        files.fetch(str(root / "photo.jpg"), full, max_bytes=100)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES])
def test_a_file_that_is_gone_is_the_fault_of_the_job(
    files: LocalFiles, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    photo = root / "photo.jpg"
    photo.write_bytes(BODY)
    monkeypatch.setattr(os, "open", _failing(number))
    with pytest.raises(SourceGoneError):
        _fetch(files, photo, tmp_path / "copy")


def test_a_root_that_is_not_mounted_is_not_the_fault_of_the_job(files: LocalFiles, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ObjectsUnavailableError):
        _fetch(files, root / "photo.jpg", tmp_path / "copy")
    root.rmdir()
    with pytest.raises(ObjectsUnavailableError):
        _fetch(files, root / "photo.jpg", tmp_path / "copy")
    (root / "other").mkdir(parents=True)
    with pytest.raises(SourceGoneError):
        _fetch(files, root / "photo.jpg", tmp_path / "copy")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_an_output_that_can_not_be_written_waits_for_the_disk(
    files: LocalFiles, output: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", _failing(number))
    with pytest.raises(ObjectsUnavailableError):
        _store(files, output)
    assert _everything_in(output.parent) == []


def test_an_emptied_root_is_still_mounted_after_a_worker_read_from_it(
    files: LocalFiles, root: Path, tmp_path: Path
) -> None:
    photo = root / "photo.jpg"
    photo.write_bytes(BODY)
    assert _fetch(files, photo, tmp_path / "copy")[0] == len(BODY)
    photo.unlink()
    with pytest.raises(SourceGoneError):
        _fetch(files, photo, tmp_path / "copy")


@pytest.mark.parametrize(
    ("name", "result"),
    [
        pytest.param("mkdir", _failing(errno.EROFS), id="a read-only disk without the folder"),
        pytest.param("access", lambda *_, **__: False, id="a folder that is not writable"),
        pytest.param("fstatvfs", _disk(free_blocks=0, free_inodes=9), id="no space"),
        pytest.param("fstatvfs", _disk(free_blocks=9, free_inodes=0), id="no inodes"),
    ],
)
def test_a_source_is_not_read_while_its_outputs_can_not_be_stored(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, result: Callable[..., object]
) -> None:
    (root / "photo.jpg").write_bytes(BODY)
    monkeypatch.setattr(os, name, result)
    with pytest.raises(ObjectsUnavailableError):
        _fetch(LocalFiles((root,)), root / "photo.jpg", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""


def test_room_is_reserved_before_a_file_is_copied(files: LocalFiles, root: Path, tmp_path: Path) -> None:
    (root / "photo.jpg").write_bytes(BODY)
    reserved: list[int] = []
    with (tmp_path / "copy").open("wb", buffering=0) as file:
        files.fetch(str(root / "photo.jpg"), file, max_bytes=100, reserve=reserved.append)
    assert reserved == [len(BODY)]


# ── Removing ─────────────────────────────────────────────────────────────────────────────────────


def test_deleting_an_attempt_keeps_other_attempts_and_the_source(files: LocalFiles, root: Path) -> None:
    photo = root / "photo.jpg"
    photo.write_bytes(BODY)
    for attempt in (1, 12):
        _store(files, f"{files.output_prefix(str(photo), JOB, attempt)}/small.webp")
    assert [files.remove_attempt(str(photo), JOB, 1) for _ in range(2)] == [1, 0]
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["photo.jpg", "small.webp"]
    files.remove_job(str(photo), JOB)
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["photo.jpg"]


@pytest.mark.parametrize("depth", range(3))
def test_symbolic_links_are_not_followed_by_deletions(
    files: LocalFiles, root: Path, tmp_path: Path, depth: int
) -> None:
    """At each folder of the path."""
    names = (OUTPUT_FOLDER, str(JOB), "3")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.joinpath(*names[depth + 1 :]).mkdir(parents=True)
    precious = elsewhere.joinpath(*names[depth + 1 :]) / "precious"
    precious.write_bytes(BODY)
    root.joinpath(*names[:depth]).mkdir(parents=True, exist_ok=True)
    root.joinpath(*names[: depth + 1]).symlink_to(elsewhere)
    assert files.remove_attempt(str(root / "photo.jpg"), JOB, 3) == 0
    files.remove_job(str(root / "photo.jpg"), JOB)
    assert precious.exists()


# ── Users ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def photos(root: Path) -> dict[str, Path]:
    """A photo in the folder of each user, and one in none."""
    paths = {"alice": root / "alice" / "a.jpg", "bob": root / "bob" / "b.jpg", "nobody": root / "n.jpg"}
    paths["output"] = root / OUTPUT_FOLDER / str(JOB) / "1" / "small.webp"
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BODY)
    return paths


def test_a_user_reads_the_files_of_a_folder_of_their_own(files: LocalFiles, photos: dict[str, Path]) -> None:
    assert files.resolve(str(photos["alice"]), "alice") == str(photos["alice"])
    for name in ("bob", "nobody", "output"):
        with pytest.raises(LocalFilesDisabledError):
            files.resolve(str(photos[name]), "alice")


def test_a_link_in_the_folder_of_a_user_does_not_lead_to_another(files: LocalFiles, photos: dict[str, Path]) -> None:
    link = photos["alice"].with_name("link.jpg")
    link.symlink_to(photos["bob"])
    for path in (link, photos["alice"].parent / ".." / "bob" / "b.jpg"):
        with pytest.raises(LocalFilesDisabledError):
            files.resolve(str(path), "alice")


def test_a_folder_that_becomes_a_link_after_the_job_was_created_is_not_followed(
    files: LocalFiles, photos: dict[str, Path], tmp_path: Path
) -> None:
    inner = photos["alice"].parent / "inner"
    inner.mkdir()
    (inner / "b.jpg").write_bytes(b"alice's")
    path = files.resolve(str(inner / "b.jpg"), "alice")
    inner.rename(inner.with_name("moved"))
    inner.symlink_to(photos["bob"].parent)
    assert files.size_of(path) is None
    with (tmp_path / "copy").open("xb", buffering=0) as copy, pytest.raises(SourceGoneError):
        files.fetch(path, copy, max_bytes=100)


@pytest.mark.parametrize(
    ("user_id", "name"),
    [
        ("alice", "alice"),
        ("a.b@c.example", "a.b@c.example"),
        ("a/../b", "a%2F..%2Fb"),
        ("%2F", "%252F"),
        ("ä", "%C3%A4"),
        ("..", None),
        (".", None),
        (OUTPUT_FOLDER, None),
        ("a" * 256, None),
    ],
)
def test_the_folder_of_a_user_is_inside_of_the_root(user_id: str, name: str | None) -> None:
    assert user_folder(user_id) == name


def test_a_user_without_a_folder_reads_nothing(files: LocalFiles, photos: dict[str, Path]) -> None:
    with pytest.raises(LocalFilesDisabledError):
        files.resolve(str(photos["output"]), OUTPUT_FOLDER)


def test_users_can_share_all_files(root: Path, photos: dict[str, Path]) -> None:
    assert LocalFiles((root,), shared=True).resolve(str(photos["nobody"]), "alice") == str(photos["nobody"])
