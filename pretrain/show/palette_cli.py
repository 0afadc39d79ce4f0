"""`mimbench palette`: the colours of a folder of images, for `target.kind=colour_clusters`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data.fingerprint import fingerprint
from benchmarks.data.found import files_below, named_by
from benchmarks.errors import UserError
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.training.numbers import require_seed

EPILOG = """example:
  mimbench palette /data/imagenet/train --out palette.json
  mimbench pretrain simmim_swin_base_192_100ep data.root=/data/imagenet \\
      target='{kind: colour_clusters, palette: palette.json, resolution_px: 48}'
"""


def main(argv: Sequence[str]) -> int:
    """Fit a palette and write it; return the exit code."""
    args = _parser().parse_args(argv)
    for name, value, least in (("--colours", args.colours, 2), ("--images", args.images, 1), ("--side", args.side, 1)):
        if value < least:
            raise UserError.about(name, value, f"{least} or more", "leave it out for the default")
    require_seed(args.seed)
    with named_by("FOLDER"):
        found = files_below(args.folder)
    from benchmarks.engine.samples.images import MODES
    from pretrain.method.palette import Palette, choose, draw_pixels, fit_colours, to_json

    make_folder(args.out.parent)
    files = choose(found, args.images, args.seed)
    pixels = draw_pixels(files, MODES[args.channels], args.side, args.seed)
    palette = Palette(
        colours=fit_colours(pixels, args.colours, args.seed),
        images=len(files),
        data=str(fingerprint(args.folder, found)),
        side_px=args.side,
        seed=args.seed,
    )
    write_atomically(args.out, to_json(palette))
    print(f"written: {args.out} ({len(palette.colours)} colours of {len(pixels)} pixels from {len(files)} images)")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench palette",
        description="Fit a palette to a folder of images by k-means.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="images at any depth")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the palette goes (JSON)")
    parser.add_argument("--colours", type=int, default=512, metavar="N", help="colours in the palette (default 512)")
    parser.add_argument(
        "--images", type=int, default=10_000, metavar="N", help="the most images to draw (default 10000)"
    )
    parser.add_argument(
        "--side", type=int, default=48, metavar="PX", help="side to which images are shrunk (default 48)"
    )
    parser.add_argument("--channels", type=int, default=3, choices=(1, 3), help="grey or RGB (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="seed for images, pixels and k-means (default 0)")
    return parser
