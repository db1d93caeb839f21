"""``make goldens``: a page with each golden picture beside its new rendering; ``--accept`` replaces the golden ones."""

from __future__ import annotations

import argparse
import base64
import html
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

import pyvips
from tests.golden import pictures
from tests.golden.pictures import LIMIT, Comparison
from tests.support.rendering import set_up_libvips

WHITE_AT = 10.0
"""The ΔE2000 from which the picture of the difference is white."""
BAR_END = 2 * LIMIT.mean
"""The distance at which the bar of a card is full."""
PAGE = Template(Path(__file__).with_name("review.html").read_text(encoding="utf-8"))
CARD = Template("""
<article class="$verdict">
  <header>
    <h2>$name</h2><span class="verdict">$said</span>
    <div class="bar" role="img" aria-label="$figure"><i style="width:$filled%"></i></div>
    <span class="figure">$figure</span>
  </header>
  <div class="pictures">$pictures</div>
  <pre>$step</pre>
</article>
""")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page into a folder; returns 0 if every picture passes, 1 otherwise."""
    options = _options(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as font_cache:
        set_up_libvips(Path(font_cache))
        return _review(options)


def _review(options: argparse.Namespace) -> int:
    comparisons = pictures.compare(options.folder)
    if options.accept is not None:
        _accept(each for each in comparisons if each.name in (options.accept or _failing(comparisons)))
        comparisons = pictures.compare(options.folder)
    page = options.folder / "index.html"
    page.write_text(to_page(comparisons, options.folder), encoding="utf-8")
    for each in comparisons:
        print(f"{each.name:14} {_figure(each)}{'' if each.passes else '  <-- differs'}")  # noqa: T201  # a command
    print(page)  # noqa: T201  # a command
    return int(bool(_failing(comparisons)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.golden.review", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the page and the new renderings are written")
    parser.add_argument(
        "--accept", nargs="*", choices=[*pictures.cases()], metavar="NAME",
        help="replace these golden pictures by their new rendering; without names, all that differ",
    )  # fmt: skip
    return parser.parse_args(arguments)


def _failing(comparisons: Iterable[Comparison]) -> set[str]:
    return {each.name for each in comparisons if not each.passes}


def _accept(comparisons: Iterable[Comparison]) -> None:
    for each in comparisons:
        each.case.expected.parent.mkdir(exist_ok=True)
        shutil.copyfile(each.actual, each.case.expected)
        print(f"{each.name} is replaced")  # noqa: T201  # a command


def to_page(comparisons: Sequence[Comparison], folder: Path) -> str:
    """The page as HTML that needs no other file; pictures of differences are written into ``folder``."""
    failing = len(_failing(comparisons))
    summary = f"{failing} of {len(comparisons)} differ" if failing else f"All {len(comparisons)} match"
    ordered = sorted(comparisons, key=lambda each: each.passes)
    return PAGE.substitute(
        summary=summary,
        verdict="differs" if failing else "matches",
        threshold=f"{LIMIT.mean:g}",
        white_at=f"{WHITE_AT:g}",
        versions=f"libvips {pyvips.version(0)}.{pyvips.version(1)}.{pyvips.version(2)}",
        cards="".join(_card(each, folder) for each in ordered),
    )


def _card(each: Comparison, folder: Path) -> str:
    return CARD.substitute(
        verdict="matches" if each.passes else "differs",
        name=html.escape(each.name),
        said="matches" if each.passes else "differs",
        figure=_figure(each),
        filled=f"{100 * min(each.distance.mean / BAR_END, 1):.1f}",
        pictures="".join(_figures(each, folder)),
        step=html.escape(json.dumps(each.case.step, ensure_ascii=False)),
    )


def _figure(each: Comparison) -> str:
    if not each.case.expected.exists():
        return "no golden picture yet"
    if math.isinf(each.distance.mean):
        actual, expected = ("{} × {}".format(*pictures.size(path)) for path in (each.actual, each.case.expected))
        return f"another size: {actual} instead of {expected}"
    found = each.distance
    return (
        f"ΔE {found.mean:.3f}, at most {LIMIT.mean:g}; in a region {found.regional:.2f}, at most {LIMIT.regional:g}; "
        f"of a pixel {found.maximum:.1f}, at most {LIMIT.maximum:g}"
    )


def _figures(each: Comparison, folder: Path) -> Iterable[str]:
    yield _image("Expected", each.case.expected if each.case.expected.exists() else None)
    yield _image("Actual", each.actual)
    yield _image("Difference", None if math.isinf(each.distance.mean) else _difference(each, folder))


def _image(caption: str, path: Path | None) -> str:
    if path is None:
        return f"<figure><div class='none'>none</div><figcaption>{caption}</figcaption></figure>"
    width, height = pictures.size(path)
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f"<figure><img alt='{caption}' width={width} height={height} src='data:image/png;base64,{data}'>"
        f"<figcaption>{caption} <small>{width} × {height}</small></figcaption></figure>"
    )


def _difference(each: Comparison, folder: Path) -> Path:
    """Black where the pictures are the same, white where ΔE2000 is ``WHITE_AT`` or more."""
    path = folder / f"{each.name}.difference.png"
    (pictures.difference(each.case.expected, each.actual) * (255 / WHITE_AT)).cast("uchar").write_to_file(str(path))
    return path


if __name__ == "__main__":
    raise SystemExit(main())
