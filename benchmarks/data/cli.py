"""`mimbench data`: the index of a data set. Its verb `pack` reads labels, and lies where these are read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data.found import ARRAYS, IMAGES, VIDEOS, named_by, require_folder
from benchmarks.errors import WRONG_CODE

KINDS = {"images": IMAGES, "arrays": ARRAYS, "videos": VIDEOS}

EPILOG = """examples:
  mimbench data index /data/imagenet/train
  mimbench data pack /data/imagenet/train /data/shards

The index has the names and sizes of all files below a folder. Every verb makes it where it is missing, and checks it at
each start: files that come or go are noticed. After files were overwritten in place, or to make it before jobs start,
`--refresh` makes it again. It lies in $XDG_CACHE_HOME/mimbench/indices, else in ~/.cache/mimbench/indices, and may be
deleted there.
"""


def main(argv: Sequence[str]) -> int:
    """Run the verb; return the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.what is None:
        parser.print_help()
        return WRONG_CODE
    from benchmarks.data.index import index_of

    kind = KINDS[args.kind]
    with named_by("FOLDER"):
        require_folder(args.folder, kind)
    index = index_of(args.folder, kind.suffixes, refresh=args.refresh)
    where = "kept nowhere: it is small, or changed within the last seconds" if index.place is None else index.place
    print(f"{args.folder}: {len(index):,} {args.kind} in {len(index.folders):,} folders; index: {where}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimbench data",
        description="Look through data sets once; write them as tar shards.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="what", metavar="ACTION")
    verbs.add_parser("pack", help="write images as WebDataset tar shards: mimbench data pack --help")
    about = "make the index of a folder, or say where it lies"
    index = verbs.add_parser("index", help=about, description=f"{about[0].upper()}{about[1:]}.")
    index.add_argument("folder", type=Path, metavar="FOLDER", help="files are looked for at any depth below it")
    index.add_argument("--kind", choices=tuple(KINDS), default="images", help="which files (default images)")
    index.add_argument("--refresh", action="store_true", help="make it again even where it seems to hold")
    return parser
