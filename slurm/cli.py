"""`mimbench pipeline`: plan, submit, status, list, logs, cancel, resume."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.errors import require_word
from benchmarks.files.atomic import denials_reported
from slurm.state.folder import Places, find_pipeline

USAGE = """usage: mimbench pipeline COMMAND [arguments]

A pipeline file names encoders, tasks and seeds; it becomes a graph of stages: what must be trained first, every
transfer, and the report. Each stage is one mimbench command in a process of its own. Submitting again continues:
finished stages are kept, live ones are not started twice.

commands:
  plan FILE      the stages, what is done already, what the rest will cost, and the exact commands
  estimate NAME  what a pretraining will cost on numbers of GPUs, by arithmetic, step by step
  submit FILE    run it here, or submit it to the Slurm cluster that --cluster names
  status ID      one row for each stage: state, step, loss, time left
  list           the pipelines launched from this folder
  logs ID STAGE  the log of a stage, or of the one that failed first
  cancel ID      stop it; stages save their state first
  resume ID      go on with it: what failed, was stopped or lost its job is submitted again

examples:
  mimbench pipeline plan simmim_vs_supervised --cluster my_cluster.yaml
  mimbench pipeline submit pipeline.yaml 'seeds=[0, 1]'
  mimbench pipeline submit pipeline.yaml --cluster my_cluster.yaml --dry-run
  mimbench pipeline status digits-demo

`mimbench pipeline COMMAND --help` explains one command.
"""


def main(argv: Sequence[str]) -> int:
    """Run one command of `mimbench pipeline`; return the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if argv else 2
    require_word("command", argv[0], COMMANDS, "a command of `mimbench pipeline`")
    with denials_reported():  # we may not read all files of a pipeline that another person launched
        return COMMANDS[argv[0]](list(argv[1:]))


def _parser(command: str, text: str, example: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"mimbench pipeline {command}",
        description=text,
        epilog=f"example: mimbench pipeline {command} {example}",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--pipelines", type=Path, default=Path("pipelines"), metavar="DIR", help="where they lie (default pipelines/)"
    )
    return parser


def _file_parser(command: str, text: str, example: str) -> argparse.ArgumentParser:
    parser = _parser(command, text, example)
    what = "the pipeline file, YAML, or the name of one that `mimbench list pipelines` shows"
    parser.add_argument("file", type=Path, metavar="FILE", help=what)
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="set any field of the file: a.b=c"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs lie (default runs/)")
    return parser


def _id_parser(command: str, text: str, example: str) -> argparse.ArgumentParser:
    parser = _parser(command, text, example)
    parser.add_argument("id", metavar="ID", help="a pipeline's id, the beginning of one, or its folder")
    return parser


def _add_no_data_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-data-check", action="store_true", help="do not look into data folders: they are on the nodes alone"
    )


def _plan(argv: list[str]) -> int:
    text = "Show the stages of a pipeline file and what they will cost, without starting any."
    parser = _file_parser("plan", text, "pipeline.yaml --cluster my_cluster.yaml")
    _add_cluster(parser)
    _add_no_data_check(parser)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the graph, too: .svg, .png or .pdf")
    parser.add_argument("--mermaid", action="store_true", help="print the graph as a Mermaid flowchart, nothing else")
    arguments = parser.parse_intermixed_args(argv)
    from slurm.graph.check import load_pipeline
    from slurm.graph.cluster import SlurmCluster, load_cluster
    from slurm.graph.data import require_data
    from slurm.launch.submit import graph, require_room
    from slurm.plan.nodes import adviser
    from slurm.plan.picture import draw, mermaid
    from slurm.plan.plan import describe_plan, make_plan

    cluster = load_cluster(arguments.cluster)
    advise, is_here = adviser(cluster, arguments.runs), not arguments.no_data_check
    file = load_pipeline(arguments.file, arguments.overrides, cluster, advise, is_here)
    if isinstance(cluster, SlurmCluster):
        require_room(file, cluster)
    counts = require_data(file) if is_here else {}
    places = Places(pipelines=arguments.pipelines, runs=arguments.runs)
    plan = make_plan(file, *graph(file, places), cluster, arguments.runs, counts)
    if arguments.picture is not None:
        draw(plan, arguments.picture)
    for line in [mermaid(plan)] if arguments.mermaid else describe_plan(plan):
        print(line)
    return 0


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster", default="local", metavar="NAME", help="local, slurm, or a YAML file (default local)"
    )


def _estimate(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="mimbench pipeline estimate",
        description="Say what a pretraining costs on numbers of GPUs, by arithmetic alone: nothing is measured or run.",
        epilog="example: mimbench pipeline estimate simmim_swinv2_huge_192_800ep --device 'A100 80GB' --gpus 8,64",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a pretraining recipe, by name or path")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="set any field of the recipe")
    parser.add_argument("--encoder", action="append", default=[], metavar="NAME", help="also this one; may be repeated")
    parser.add_argument("--device", required=True, metavar="NAME", help="H100 SXM, A100 80GB, V100 SXM2 32GB, ...")
    parser.add_argument("--gpus", default="8", metavar="N,N,...", help="numbers of GPUs, 8 in a node (default 8)")
    parser.add_argument("--images", type=int, metavar="N", help="images of an epoch (default: ImageNet-1K's)")
    parser.add_argument("--steps", action="store_true", help="print the arithmetic of every row before the table")
    arguments = parser.parse_intermixed_args(argv)
    from slurm.plan.estimate.table import cases, numbers_of, steps_of, table

    gpus = numbers_of("--gpus", arguments.gpus)
    found = list(
        cases(arguments.recipe, arguments.overrides, arguments.encoder, arguments.device, gpus, arguments.images)
    )
    for case in found if arguments.steps else ():
        print(*steps_of(case), "", sep="\n")
    print(table(found))
    return 0


def _submit(argv: list[str]) -> int:
    text = "Run a pipeline here or on Slurm; submitting it again continues it."
    parser = _file_parser("submit", text, "pipeline.yaml --cluster my_cluster.yaml")
    _add_cluster(parser)
    _add_no_data_check(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the commands or sbatch scripts, start nothing")
    arguments = parser.parse_intermixed_args(argv)
    from slurm.graph.check import load_pipeline
    from slurm.graph.cluster import LocalCluster, load_cluster
    from slurm.graph.data import require_data
    from slurm.graph.rungs import rung_warnings
    from slurm.graph.starts import misfits, require_encoder_files
    from slurm.launch.submit import graph, previews, submit
    from slurm.plan.plan import length_here, make_plan

    cluster, is_here = load_cluster(arguments.cluster), not arguments.no_data_check
    file = load_pipeline(arguments.file, arguments.overrides, cluster, data_is_here=is_here)
    counts = require_data(file) if is_here else {}
    require_encoder_files(file)
    for said in (*misfits(file), *rung_warnings(file)):
        print(f"warning: {said}", file=sys.stderr)
    places = Places(pipelines=arguments.pipelines, runs=arguments.runs)
    if arguments.dry_run:
        print("\n".join(previews(file, cluster, places)))
        return 0
    if isinstance(cluster, LocalCluster) and not cluster.has_gpus:
        plan = make_plan(file, *graph(file, places), cluster, places.runs, counts)
        for line in length_here(plan, by_arithmetic=False):
            print(line, flush=True)
    return submit(file, cluster, places)


def _resume(argv: list[str]) -> int:
    text = "Go on with a pipeline: submit what failed, was stopped or lost its job. What is done or at work is kept."
    parser = _id_parser("resume", text, "digits-demo")
    parser.add_argument("--cluster", metavar="NAME", help="local, slurm, or a YAML file (default: the last one)")
    _add_no_data_check(parser)
    arguments = parser.parse_args(argv)
    from slurm.graph.check import load_pipeline
    from slurm.graph.cluster import load_cluster
    from slurm.graph.data import require_data
    from slurm.graph.starts import require_encoder_files
    from slurm.launch.submit import submit
    from slurm.state.mark import require_in_place

    folder = find_pipeline(arguments.pipelines, arguments.id)
    require_in_place(folder)
    manifest = folder.read_manifest()
    cluster = load_cluster(arguments.cluster or str(folder.cluster))
    path = folder.file.resolve()
    manifest.enter_workdir()
    file = load_pipeline(path, cluster=cluster, data_is_here=not arguments.no_data_check)
    if not arguments.no_data_check:
        require_data(file)
    require_encoder_files(file)
    return submit(file, cluster, manifest.places)


def _status(argv: list[str]) -> int:
    parser = _id_parser("status", "Show the state of every stage.", "digits-demo")
    parser.add_argument("--watch", action="store_true", help="draw it again every two seconds, until nothing runs")
    arguments = parser.parse_args(argv)
    from slurm.answers import show_status, watch_status

    show = watch_status if arguments.watch else show_status
    return show(find_pipeline(arguments.pipelines, arguments.id))


def _list(argv: list[str]) -> int:
    arguments = _parser("list", "List pipelines, the last launched first.", "").parse_args(argv)
    from slurm.answers import show_list

    return show_list(arguments.pipelines)


def _logs(argv: list[str]) -> int:
    parser = _id_parser("logs", "Print the log of a stage's last job.", "digits-demo pretrain.simmim")
    parser.add_argument(
        "stage", metavar="STAGE", nargs="?", help="a stage's name, as `status` shows it (default: what failed first)"
    )
    parser.add_argument("--follow", action="store_true", help="go on until the stage has ended")
    arguments = parser.parse_args(argv)
    from slurm.answers import show_log

    return show_log(find_pipeline(arguments.pipelines, arguments.id), arguments.stage, arguments.follow)


def _cancel(argv: list[str]) -> int:
    text = "Stop a pipeline: running stages save their state, waiting ones are withdrawn."
    arguments = _id_parser("cancel", text, "digits-demo").parse_args(argv)
    from slurm.answers import cancel

    return cancel(find_pipeline(arguments.pipelines, arguments.id))


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "plan": _plan,
    "estimate": _estimate,
    "submit": _submit,
    "resume": _resume,
    "status": _status,
    "list": _list,
    "logs": _logs,
    "cancel": _cancel,
}
