"""The arguments of `mimbench checkpoint publish`. This module is light to import."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `publish` takes beside the encoder and what is said of it."""
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FOLDER", help="a new folder, or one published before"
    )
    parser.add_argument(
        "--license", metavar="ID", help="needed: apache-2.0, cc-by-nc-4.0, ... of the weights, or other"
    )
    parser.add_argument("--license-name", metavar="TEXT", help="with --license other: what it is called")
    parser.add_argument("--license-link", metavar="ADDRESS", help="with --license other: where it stands")
    parser.add_argument("--name", metavar="NAME", help="the model's name in the card; default: the folder's")
    parser.add_argument("--head", action="store_true", help="the classifier that the run fine-tuned, with its head")
    parser.add_argument(
        "--runs", action="append", default=[], metavar="DIR", help="where transfers of this encoder lie, for its scores"
    )
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload it to the hub, by the login of huggingface_hub")
    parser.add_argument("--public", action="store_true", help="with --push: everybody may see it; else it is private")
    parser.add_argument(
        "--dry-run", action="store_true", help="with --push: print what would be sent, and send nothing"
    )


def check_arguments(args: argparse.Namespace) -> None:
    """Raise UserError for arguments that mean nothing together."""
    for option in ("public", "dry_run"):
        if getattr(args, option) and args.push is None:
            rule = "given with --push OWNER/NAME: nothing is sent without it"
            raise UserError.about(f"--{option.replace('_', '-')}", "(given)", rule, "add --push, or leave it out")
