"""`mimbench masking`: AvgDist over ratio for every strategy, as in SimMIM's figure 3a."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.catalogue.published import GOOD_AVG_DIST_PX
from benchmarks.errors import UserError
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.text.tables import aligned
from benchmarks.training.numbers import require_seed

if TYPE_CHECKING:
    from pretrain.method.avg_dist import Point

EPILOG = """example:
  mimbench masking --out report

AvgDist is the mean distance in pixels from hidden pixels to the nearest visible one. SimMIM's good settings lie at
10 to 20 px (arXiv:2111.09886, figure 3).
"""
MARKERS = {"random": "o", "square": "s", "blockwise": "^"}
Curves = dict[str, list["Point"]]


def main(argv: Sequence[str]) -> int:
    """Write masking.csv and masking.png, print the table; return the exit code."""
    args = _parser().parse_args(argv)
    _check(args.image_size, args.masks)
    require_seed(args.seed)
    make_folder(args.out)
    curves = _curves(args.image_size, args.masks, args.seed)
    files = {args.out / "masking.csv": _csv(curves), args.out / "masking.png": _figure(curves, args.image_size)}
    for path, content in files.items():
        write_atomically(path, content)
    print(_table(curves))
    print("".join(f"\nwritten: {path}" for path in files))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench masking",
        description="Draw AvgDist over masking ratio for every masking strategy.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where masking.csv and masking.png go")
    parser.add_argument("--image-size", type=int, default=192, metavar="PX", help="side of the image (default 192)")
    parser.add_argument("--masks", type=int, default=50, metavar="N", help="masks per point (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="seed for the masks (default 0)")
    return parser


def _check(image_size_px: int, masks: int) -> None:
    if image_size_px % 64 or image_size_px < 128:
        rule = "a multiple of 64 (the largest masked patch), 128 or more"
        raise UserError.about("--image-size", image_size_px, rule, "for example 192")
    if masks < 1:
        raise UserError.about("--masks", masks, "1 or more", "for example 50")


def _curves(image_size_px: int, masks: int, seed: int) -> Curves:
    from benchmarks.text.progress import ProgressReport
    from pretrain.method.avg_dist import STRATEGIES, curve

    found: Curves = {}
    with ProgressReport("AvgDist", len(STRATEGIES), "strategy") as report:
        for done, strategy in enumerate(STRATEGIES, start=1):
            name = f"{strategy.kind} {strategy.mask_patch_size_px}"
            found[name] = list(curve(strategy, image_size_px, masks, seed))
            report.show(done, name)
    return found


def _csv(curves: Curves) -> bytes:
    rows = [asdict(point) for points in curves.values() for point in points]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _table(curves: Curves) -> str:
    ratios = sorted({point.mask_ratio for points in curves.values() for point in points})
    rows = [("AvgDist, px", *(f"{ratio:g}" for ratio in ratios))]
    for name, points in curves.items():
        at = {point.mask_ratio: f"{point.avg_dist_px:.1f}" for point in points}
        rows.append((name, *(at.get(ratio, "-") for ratio in ratios)))
    return aligned(rows)


def _figure(curves: Curves, image_size_px: int) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.axhspan(*GOOD_AVG_DIST_PX, color="0.92", zorder=0)
    for name, points in curves.items():
        shares, distances = [point.hidden_share for point in points], [point.avg_dist_px for point in points]
        axes.plot(shares, distances, marker=MARKERS[name.split()[0]], markersize=4, linewidth=1.2, label=name)
    axes.set(
        xlabel="share of hidden pixels", ylabel=f"AvgDist (px, at {image_size_px} px)", xlim=(0, 1), ylim=(0, None)
    )
    axes.legend(frameon=False, fontsize="small", title="strategy, masked patch (px)", title_fontsize="small")
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()
