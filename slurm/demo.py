"""`mimbench demo`: real handwritten digits, SimMIM, transfer, a comparison; on a laptop, in minutes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.digit_scenes import write_digit_scenes
from benchmarks.digits import write_digits
from slurm.check import load_pipeline
from slurm.cluster import load_cluster
from slurm.folder import Places
from slurm.launcher import submit
from transfer.segmentation.adapter import SegmentationAdapter

PIPELINE = Path(__file__).parent / "pipelines" / "demo.yaml"
DIGITS, SCENES = Path("data/digits"), Path("data/digit_scenes")
ONLY_DIGITS = "tasks={digits: {recipe: digits_finetune, data: data/digits}}"


def main(argv: Sequence[str]) -> int:
    """Write the digits, run the demo's pipeline, print what it measured; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="mimbench demo",
        description="Write handwritten digits and scenes of them to data/, pretrain on the unlabelled ones by SimMIM, "
        "transfer to the few labelled ones and to the segmentation of the scenes, and compare with supervised and "
        "random encoders over three seeds. Whatever comes out is printed. Run it again and it continues, or shows "
        "the result.",
        epilog="example: mimbench demo 'seeds=[0]'",
        allow_abbrev=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="set any field of the demo's pipeline file")
    parser.add_argument(
        "--cluster", default="local", metavar="NAME", help="local, slurm, or a YAML file (default local)"
    )
    arguments = parser.parse_intermixed_args(argv)
    cluster = load_cluster(arguments.cluster)
    print(f"data: {DIGITS}, {write_digits(DIGITS)}", flush=True)
    overrides = [*_without_segmentation(), *arguments.overrides]
    return submit(load_pipeline(PIPELINE, overrides, cluster.ranks_per_stage), cluster, Places())


def _without_segmentation() -> list[str]:
    """Return the override that leaves out the segmentation of scenes where it cannot run; else write the scenes."""
    if missing := SegmentationAdapter().missing_requirements():
        print(f"without the segmentation of scenes, which needs {', '.join(missing)}: `mimbench doctor` says how")
        return [ONLY_DIGITS]
    print(f"data: {SCENES}, {write_digit_scenes(SCENES)}", flush=True)
    return []
