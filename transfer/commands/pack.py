"""`mimbench data pack`: images in any form that is read here, written as WebDataset tar shards."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from benchmarks.data.forms.place import PATTERN, Place
from benchmarks.data.forms.place import Form as UnlabelledForm
from benchmarks.data.pack.manifest import Manifest, PackOptions
from benchmarks.data.remote.paths import PROTOCOL, data_path
from benchmarks.errors import UserError
from transfer.images.recipe import Form, Storage

if TYPE_CHECKING:
    from benchmarks.data.pack.packing import Packing
    from transfer.images.labelled import LabelledImages

SOURCE_REMEDY = (
    "name another SOURCE; --labels FILE gives classes to a folder of images, --unlabelled packs one without classes"
)
EPILOG = """examples:
  mimbench data pack /data/imagenet/train /data/shards
  mimbench data pack /data/imagenet/val /data/shards --classes /data/shards/train.json
  mimbench data pack /data/photos /data/shards --unlabelled --short-side 256 --damaged skip
  mimbench data pack '/data/hub/train-*.parquet' /data/shards --name train

SOURCE is a folder with one sub-folder of images per class, a folder of images with --labels FILE, tar shards, parquet
files or a folder that `datasets` saved. DESTINATION gets NAME-000000.tar, ... and NAME.json: classes, counts, the
sha256 of every shard, and what was packed. Images keep their bytes and their names. The same images and options give
the same bytes. Broken off, the same command goes on after the last whole shard. Reading them:
  mimbench transfer ... data.root=/data/shards data.train_split='train-*.tar' data.classes=train.json
  mimbench pretrain ... data.root=/data/shards data.split='train-*.tar'
"""


def main(argv: Sequence[str]) -> int:
    """Run the verb; return the exit code."""
    args = _parser().parse_args(argv)
    options = _options(args)
    from benchmarks.data.found import named_by
    from benchmarks.data.pack.packing import pack, verify

    with named_by("SOURCE", SOURCE_REMEDY):
        packing = _packing(args, options)
    manifest = pack(packing)
    if args.verify:
        verify(packing, manifest)
    _say(packing, manifest, args.verify)
    return 0


def _say(packing: Packing, manifest: Manifest, verified: bool) -> None:
    for each in manifest.skipped:
        print(f"skipped: {each.name}: {each.reason}")
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    last = packing.file(len(manifest.shards) - 1)
    shards = "1 shard" if len(manifest.shards) == 1 else f"{len(manifest.shards):,} shards"
    what = f"{manifest.images:,} images in {shards} to {packing.folder / last}, {size:,.1f} MB"
    print(f"{'verified' if verified else 'done'}: {what}; {packing.manifest}")


def _packing(args: argparse.Namespace, options: PackOptions) -> Packing:
    from benchmarks.data.fingerprint import fingerprint
    from benchmarks.data.pack.packing import Packing

    place = _place(args.source)
    if Path(args.source).is_dir() and args.destination.resolve().is_relative_to(Path(args.source).resolve()):
        rule = f"a folder outside SOURCE ({args.source}): shards in it would be taken for its images"
        raise UserError.about("DESTINATION", str(args.destination), rule, "name another folder")
    name = args.name or re.sub(r"[^A-Za-z0-9_-].*", "", place.path.name) or "images"
    if re.fullmatch(r"[A-Za-z0-9_-]+", name) is None:
        raise UserError.about("--name", name, "letters, digits, _ and -", "choose another")
    if args.unlabelled:
        from benchmarks.data.forms.unlabelled import read_unlabelled
        from benchmarks.data.found import IMAGES

        form: UnlabelledForm = "folders" if args.format == "flat" else args.format
        source = read_unlabelled(place, IMAGES, form, args.image_column, None)
        mark = fingerprint(place.root, source.files, images=len(source))
        return Packing(args.destination, name, args.source, source, None, None, mark.sha256, options)
    images, in_names = _labelled(place, args)
    parts = {} if in_names else {"labels": images.sha256()}
    mark = fingerprint(place.root, images.source.files, images=len(images), parts=parts)
    return Packing(
        args.destination, name, args.source, images.source, images.labels, images.classes, mark.sha256, options
    )


def _labelled(place: Place, args: argparse.Namespace) -> tuple[LabelledImages, bool]:
    """Return images with their classes, and whether a label is part of its image's name."""
    from benchmarks.data.forms.shards import default_index_folder
    from benchmarks.files.named_files import find_file
    from transfer.images.classes import in_classes, read_class_list, standard_order, training_classes
    from transfer.images.forms import LabelledPlace, read_place

    columns = {"image_column": args.image_column, "label_column": args.label_column, "label_field": args.label_field}
    storage = Storage(root=str(place.root), format=args.format, classes=args.classes, **columns)
    labels = find_file(place.root, "--labels", args.labels)
    found = read_place(LabelledPlace(place.root, place.split, storage, labels, default_index_folder()))
    file = find_file(place.root, "--classes", args.classes)
    listed = None if file is None else read_class_list(file)
    if listed is None:
        return training_classes(found, None, args.first_label, None), found.labels_in_names
    return in_classes(found, standard_order(listed.names), listed, args.first_label), found.labels_in_names


def _place(given: str) -> Place:
    """Return the place that a path, an address or a pattern names, below the last folder without a wildcard."""
    if PROTOCOL.match(given) and not given.startswith("file:"):
        folder, _, last = given.rpartition("/")
        is_folder = PATTERN.isdisjoint(last) and not last.endswith(".tar")
        return Place(data_path(given), ".") if is_folder else Place(data_path(folder), last)
    parts = Path(given).parts
    first = next((at for at, part in enumerate(parts) if not PATTERN.isdisjoint(part)), None)
    if first is not None:
        return Place(Path(*parts[:first]), str(Path(*parts[first:])))
    path = Path(given)
    return Place(path.parent, path.name) if path.is_file() else Place(path, ".")


def _options(args: argparse.Namespace) -> PackOptions:
    """Return the options. Raises UserError where one is out of range."""
    from pydantic import ValidationError

    given = {
        "shard_mb": args.shard_mb,
        "shard_images": args.shard_images,
        "seed": None if args.no_shuffle else args.seed,
        "short_side_px": args.short_side,
        "jpeg_quality": args.jpeg_quality,
        "damaged": args.damaged,
    }
    try:
        return PackOptions.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = f"--{str(first['loc'][0]).removesuffix('_px').replace('_', '-')}"
        rule = first["msg"].removeprefix("Input should be ")
        raise UserError.about(field, first["input"], rule, "choose another value") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench data pack",
        description="Write images as WebDataset tar shards.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = PackOptions()
    parser.add_argument("source", metavar="SOURCE", help="folder, shards or tables: a path or a pattern")
    parser.add_argument("destination", type=Path, metavar="DESTINATION", help="the folder of the shards")
    parser.add_argument("--name", help="what the shards are called (default: the last part of SOURCE)")
    parser.add_argument("--verify", action="store_true", help="then read every shard again and compare it with SOURCE")
    source = parser.add_argument_group("what SOURCE is")
    source.add_argument("--unlabelled", action="store_true", help="pack images at any depth, without classes")
    source.add_argument("--format", choices=("auto", *get_args(Form)), default="auto", help="default: what is found")
    source.add_argument("--labels", metavar="FILE", help="the list of the images' labels")
    source.add_argument("--classes", metavar="FILE", help="classes in the order of their numbers: a list, or NAME.json")
    source.add_argument("--first-label", type=int, choices=(0, 1), help="the number of the first class in --labels")
    source.add_argument("--label-field", default="label", help="shards: the field of a sample's .json with its label")
    source.add_argument("--image-column", metavar="NAME", help="tables: the column of images")
    source.add_argument("--label-column", metavar="NAME", help="tables: the column of labels")
    shards = parser.add_argument_group("what the shards are")
    shards.add_argument("--shard-mb", type=float, default=known.shard_mb, metavar="MB", help="default %(default)g")
    shards.add_argument("--shard-images", type=int, metavar="N", help="at most so many images a shard")
    shards.add_argument("--seed", type=int, default=known.seed, help="images are shuffled by it (default %(default)s)")
    shards.add_argument("--no-shuffle", action="store_true", help="keep the order of SOURCE")
    shards.add_argument("--short-side", type=int, metavar="PX", help="make larger images JPEGs with this short side")
    shards.add_argument("--jpeg-quality", type=int, default=known.jpeg_quality, metavar="Q", help="default %(default)s")
    damaged = "images that cannot be decoded: name the first and stop, skip and name them, or decode none to find out"
    shards.add_argument("--damaged", choices=("refuse", "skip", "keep"), default=known.damaged, help=damaged)
    return parser
