"""The arguments that every verb which makes a run shares."""

from __future__ import annotations

import argparse
from pathlib import Path

RECIPE_HELP = "a recipe's name (`mimbench list recipes`) or the path of a YAML file"


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add seed, folders, --print and the `key=value` overrides."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="set any field of the recipe: a.b=c")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order, masks, augmentation (default 0)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default runs/)")
    parser.add_argument("--print", action="store_true", help="print the resolved recipe and stop")
    parser.add_argument(
        "--announce", type=Path, metavar="FILE", help="write where the run lies to FILE (used between stages)"
    )
