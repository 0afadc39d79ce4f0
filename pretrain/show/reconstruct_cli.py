"""`mimbench reconstruct`: what a pretraining run predicts for hidden patches, as pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.data.found import files_below, named_by
from benchmarks.errors import UserError
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.training.numbers import require_seed

if TYPE_CHECKING:
    from pretrain.run.pretrained import Pretrained
    from pretrain.show.reconstruct import Box, Mask

EPILOG = """examples:
  mimbench reconstruct runs/RUN_ID images/ --out pictures
  mimbench reconstruct runs/MASKED images/cat.jpg --beside runs/FULL --mask-patch-size 16,32,64 --out pictures

Every image becomes rows of original, masked, reconstruction and mixed, one row for each mask: random ones of every
masked patch size, most of the object, and the whole object. Written: one PNG for each image, and reconstruct.html.
"""


def main(argv: Sequence[str]) -> int:
    """Draw the pictures; return the exit code."""
    args = _parser().parse_intermixed_args(argv)
    require_seed(args.seed)
    files = list(_files(args.images, args.limit))
    from benchmarks.engine.device import choose_device
    from benchmarks.inference import Inference
    from benchmarks.text.progress import ProgressReport
    from pretrain.run.pretrained import open_pretrained
    from pretrain.show.pictures import draw, page
    from pretrain.show.reconstruct import load, rows_of

    device = choose_device(Inference(device=args.device))
    runs = [open_pretrained(reference, device) for reference in (args.run, *args.beside)]
    _require_alike(runs)
    masks = _masks(args, runs)
    images = [load(file, runs[0].recipe.config) for file in files]
    make_folder(args.out)
    labels = [f"{run.recipe.config.target.scope}, {run.name[-6:]}" for run in runs] if len(runs) > 1 else [""]
    pictures = []
    with ProgressReport("reconstruct", len(files), "image") as report:
        for done, (file, image) in enumerate(zip(files, images, strict=True), start=1):
            pictures.append(draw(file.name, list(rows_of(image, masks, runs, device)), labels))
            write_atomically(args.out / f"{done:03d}_{file.stem}.png", pictures[-1].png)
            report.show(done)
    captions = [
        f"{run.name}: {run.recipe.name}, scope {run.recipe.config.target.scope}, step {run.step}" for run in runs
    ]
    write_atomically(args.out / "reconstruct.html", page(pictures, captions))
    print(f"written: {args.out / 'reconstruct.html'} and {len(pictures)} PNG files of {len(masks)} masks each")
    return 0


def _files(given: Sequence[Path], limit: int) -> Iterator[Path]:
    """Yield the images that were named, and the first `limit` of each folder."""
    if limit < 1:
        raise UserError.about("--limit", limit, "1 or more", "leave it out for the default")
    for path in given:
        if path.is_dir():
            with named_by("IMAGE"):
                found = files_below(path)
            yield from found[:limit]
        elif path.is_file():
            yield path
        else:
            raise UserError.about("image", str(path), "an image file or a folder of them that exists", "check the path")


def _require_alike(runs: Sequence[Pretrained]) -> None:
    """Raise UserError unless all runs see the same pixels, so that one mask means the same to each."""
    _require_drawable(runs[0])
    facts: dict[str, Callable[[Pretrained], int]] = {
        "image_size_px": lambda run: run.recipe.config.image_size_px,
        "channels": lambda run: run.recipe.config.encoder.in_chans,
    }
    for name, fact in facts.items():
        for run in runs[1:]:
            if fact(run) != fact(runs[0]):
                rule = f"that of the first run ({fact(runs[0])})"
                raise UserError.about(f"{name} of {run.name}", fact(run), rule, "draw it by itself")


def _require_drawable(run: Pretrained) -> None:
    channels = run.recipe.config.encoder.in_chans
    if channels not in (1, 3):
        rule = "1 or 3: other images have no colours to draw"
        raise UserError.about(f"channels of {run.name}", channels, rule, "a run on grey or RGB images")


def _masks(args: argparse.Namespace, runs: Sequence[Pretrained]) -> list[Mask]:
    from pretrain.method.masking import RandomMask
    from pretrain.show.reconstruct import CENTRE, object_masks, random_masks

    config = runs[0].recipe.config
    own, size = config.masking, config.image_size_px
    ratio = own.mask_ratio if args.mask_ratio is None else args.mask_ratio
    if not 0 < ratio < 1:
        raise UserError.about("--mask-ratio", ratio, "above 0 and below 1", "for example 0.6")
    finest = max(run.method.model.encoder.patch_size_px for run in runs)
    chosen = _sizes(args.mask_patch_size) or [own.mask_patch_size_px]
    for each in chosen:
        RandomMask.model_construct(mask_patch_size_px=each, mask_ratio=ratio).check(size, finest)
    box = CENTRE if args.object is None else _box(args.object)
    return [*random_masks(chosen, ratio, size, args.seed), *object_masks(box, min(chosen), size, args.seed)]


def _sizes(text: str | None) -> list[int]:
    parts = [] if text is None else text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UserError.about("--mask-patch-size", text, "whole numbers of pixels with commas between", "e.g. 16,32")
    return [int(part) for part in parts]


def _box(text: str) -> Box:
    from pretrain.show.reconstruct import Box

    try:
        top, left, bottom, right = (float(part) / 100 for part in text.split(","))
    except ValueError:
        top = left = bottom = right = -1.0
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        rule = "TOP,LEFT,BOTTOM,RIGHT in percent of the image, the smaller first"
        raise UserError.about("--object", text, rule, "for example 25,25,75,75, which is the default")
    return Box(top, left, bottom, right)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench reconstruct",
        description="Draw what a pretraining run predicts for hidden patches.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a pretraining run, or the encoder/ folder in it")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pictures go")
    parser.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="another run, in columns beside (any number)",
    )
    parser.add_argument("--mask-patch-size", metavar="PX,...", help="sizes for random masks (default: the run's own)")
    parser.add_argument("--mask-ratio", type=float, metavar="R", help="ratio for random masks (default: the run's own)")
    parser.add_argument("--object", metavar="T,L,B,R", help="where the object is, in percent (default 25,25,75,75)")
    parser.add_argument("--limit", type=int, default=8, metavar="N", help="images of each folder (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="seed for the masks (default 0)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")
    return parser
