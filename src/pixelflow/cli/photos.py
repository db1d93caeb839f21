"""The photos that ``submit`` is called with: files, directories and earlier jobs, and the names of their outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath

from pixelflow.cli.manifest import is_of_manifest
from pixelflow.client import JobSource, UrlSource
from pixelflow.client.sources import ExistingSource
from pixelflow.imaging.format import SIGNATURE_BYTES
from pixelflow.imaging.formats.registry import INPUT_FORMATS

MAX_FILENAME = 512
"""Characters of a value of ``metadata``."""


@dataclass(frozen=True)
class Photo:
    """A photo to process."""

    path: Path
    """The file to upload; for a source that is there already, only a name."""
    name: PurePath
    """The file name or, in a directory, the path below it."""
    source: ExistingSource | None = None
    """Where the photo is, if it is not a file to upload."""

    @property
    def key(self) -> Path:
        """What identifies the photo in a manifest: the path of a file, the name of an earlier job, or a hash."""
        if self.source is None:
            return self.path.absolute()
        if isinstance(self.source, JobSource):
            return self.path
        kind = "url" if isinstance(self.source, UrlSource) else "object"
        return Path(f"{kind}-{self.digest}")

    @property
    def digest(self) -> str:
        """SHA-256 of what says where a source is that is not a file to upload."""
        declared = self.source.declared() if self.source else {}
        return hashlib.sha256(repr(declared).encode()).hexdigest()

    @property
    def filename(self) -> str | None:
        """The value of ``metadata.filename``: the end of a name that is too long. None: there is no file."""
        if self.source is not None:
            return None
        text = self.name.as_posix().encode(errors="surrogateescape").decode(errors="replace")
        return text[-MAX_FILENAME:]


@dataclass(frozen=True)
class FoundPhotos:
    """The result of a search."""

    photos: Sequence[Photo]
    others: Sequence[Path]
    """Files in the directories that are not images of a known format."""


def find_photos(
    paths: Iterable[Path], sources: Iterable[ExistingSource], *, out: Path | None, manifest: Path | None
) -> FoundPhotos:
    """Return the files, those in a directory by path, and the sources.

    A directory is searched with its subdirectories, except hidden ones, links to directories and ``out``. A file in it
    counts if its first bytes are those of a format that PixelFlow reads. ``manifest`` and all other manifests are left
    out, also as ``paths``: a shell expands ``*`` to them.

    Raises:
        OSError: a directory or a file in it can't be read.
    """
    photos: list[Photo] = []
    others: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not is_of_manifest(path, manifest):
                photos.append(Photo(path, PurePath(path.name)))
            continue
        for file in _files(path, out.resolve() if out else None):
            if _is_image(file):
                photos.append(Photo(file, file.relative_to(path)))
            elif not is_of_manifest(file, manifest):
                others.append(file)
    photos += [Photo(Path(source.name), PurePath(source.name), source) for source in sources]
    return FoundPhotos(photos, others)


def folder_of_outputs_among(photos: Sequence[Photo], paths: Iterable[Path], out: Path) -> Path | None:
    """Return a directory of ``paths`` that outputs in ``out`` would be found in by the next search; None without one.

    Raises:
        OSError: a directory can't be read.
    """
    targets = {(out / photo.name).parent.resolve() for photo in photos}
    for folder in filter(Path.is_dir, paths):
        root = folder.resolve()
        is_searched = root == out.resolve() or root not in out.resolve().parents
        if is_searched and any(target.is_relative_to(root) for target in targets):
            return folder
    return None


def _files(folder: Path, out: Path | None) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not path.is_symlink() and path.resolve() != out:
                yield from _files(path, out)
        elif path.is_file():
            yield path


def _is_image(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(SIGNATURE_BYTES)
    return any(format_.matches is not None and format_.matches(head) for format_ in INPUT_FORMATS.values())


def output_prefixes(
    photos: Sequence[Photo], step_ids: Sequence[str], folder: Path, known: Mapping[Path, str]
) -> list[str]:
    """Return a prefix per photo such that no two names ``{prefix}-{step}`` are equal: its stem, numbered if needed.

    A photo whose key is in ``known`` has that prefix. No output gets the name of a photo in ``folder``. Names that
    differ only in case count as equal, as they are on some file systems.
    """
    root = folder.resolve()
    paths = (photo.path.resolve() for photo in photos)
    taken = {_stem(path.relative_to(root)).casefold() for path in paths if path.is_relative_to(root)}
    for prefix in known.values():
        taken |= _names(prefix, step_ids)
    return [known.get(photo.key) or _free_prefix(_stem(photo.name), step_ids, taken) for photo in photos]


def _stem(name: PurePath) -> str:
    return name.with_suffix("").as_posix()


def _names(prefix: str, step_ids: Sequence[str]) -> set[str]:
    return {f"{prefix}-{step_id}".casefold() for step_id in step_ids}


def _free_prefix(stem: str, step_ids: Sequence[str], taken: set[str]) -> str:
    for number in count(1):
        prefix = stem if number == 1 else f"{stem}-{number}"
        names = _names(prefix, step_ids)
        if not names & taken:
            taken |= names
            return prefix
    raise AssertionError  # count() is infinite
