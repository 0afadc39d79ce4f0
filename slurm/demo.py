"""`mimbench demo`: real handwritten digits, SimMIM, transfer, a comparison, pictures; on a laptop, in minutes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.catalogue.tasks import find_task
from benchmarks.digits.folders import write_digits
from benchmarks.errors import DONE_CODE
from benchmarks.runs.folder import read_record, run_folder_of
from slurm.graph.check import load_pipeline, load_work
from slurm.graph.cluster import LocalCluster, load_cluster
from slurm.graph.pipeline import PipelineFile, read_pipeline
from slurm.graph.shipped import PIPELINES, shortened_studies, shortening
from slurm.launch.local import THREAD_VARIABLES
from slurm.launch.snapshot import variables
from slurm.launch.submit import graph, submit
from slurm.state.folder import PipelineFolder, Places
from transfer.adapter import missing_requirements

PIPELINE, FULL = PIPELINES / "demo.yaml", PIPELINES / "demo_full.yaml"
DIGITS = Path("data/digits")
SHOWN = 4
"""Images in each picture."""


def main(argv: Sequence[str]) -> int:
    """Write the data sets, run the demo's pipeline, print what it measured; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="mimbench demo",
        description="Write handwritten digits to data/ in four forms, pretrain on unlabelled ones by SimMIM, and see "
        "what that is worth where few have labels: a probe, and short fine-tunings that classify digits, detect "
        "them, segment them and recognise how they move, beside the same from random weights. The "
        "results are printed, with pictures of what was reconstructed and predicted. Run it again and it continues, "
        "or shows the result.",
        epilog="examples: mimbench demo; mimbench demo --full 'seeds=[0]'; mimbench demo --study simmim_vs_supervised",
        allow_abbrev=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="set any field of the demo's pipeline file")
    studies = ", ".join(shortened_studies())
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--full", action="store_true", help="longer: recipes at full length, a supervised encoder, three seeds"
    )
    which.add_argument(
        "--study", metavar="NAME", help=f"instead of the demo: a study in its shortened form, on the digits: {studies}"
    )
    parser.add_argument(
        "--cluster", default="local", metavar="NAME", help="local, slurm, or a YAML file (default local)"
    )
    arguments = parser.parse_intermixed_args(argv)
    cluster = load_cluster(arguments.cluster)
    pipeline, overrides = FULL if arguments.full else PIPELINE, arguments.overrides
    if arguments.study is not None:
        pipeline, overrides = PIPELINES / f"{arguments.study}.yaml", [*shortening(arguments.study), *overrides]
    asked = read_pipeline(pipeline, overrides)
    print(f"data: {DIGITS}, {write_digits(DIGITS)}", flush=True)
    overrides = [*overrides, _possible_tasks(asked)]
    file = load_pipeline(pipeline, overrides, cluster)
    if arguments.study is not None or not isinstance(cluster, LocalCluster):
        return submit(file, cluster, Places())
    folder = graph(file, Places())[0]
    with _reconstructed(folder):
        code = submit(file, cluster, Places())
    return code if code != DONE_CODE else _mimbench("show", folder.path / "stages", "--images", folder=folder)


@contextlib.contextmanager
def _reconstructed(folder: PipelineFolder) -> Iterator[None]:
    """Draw what the pretraining reconstructs as soon as it is done, beside the stages that are left."""
    ended = threading.Event()
    drawing = threading.Thread(target=_reconstruct, args=(folder, ended))
    drawing.start()
    try:
        yield
    finally:
        ended.set()
        drawing.join()


def _reconstruct(folder: PipelineFolder, ended: threading.Event) -> None:
    announced = folder.announcement("pretrain.simmim")
    while not _is_completed(announced):
        if ended.wait(1.0):
            return
    _mimbench("reconstruct", run_folder_of(announced), DIGITS / "test", "--limit", folder=folder)


def _is_completed(announced: Path) -> bool:
    try:
        record = read_record(run_folder_of(announced))
    except (OSError, ValueError):  # not there yet
        return False
    return record is not None and record.status == "completed"


def _mimbench(*words: str | Path, folder: PipelineFolder) -> int:
    """Draw pictures by a verb, in a process of its own, and print what it says; return its exit code.

    It runs the stages' code with one thread, as they do: threads that wait for a core that a stage has cost time too.
    """
    command = [sys.executable, "-m", "mimbench", *words, str(SHOWN), "--out", folder.path / "pictures"]
    own = {**dict.fromkeys(THREAD_VARIABLES, "1"), **variables(Path(folder.read_manifest().code))}
    environment = {**os.environ, **own}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    print(done.stdout if done.returncode == DONE_CODE else done.stderr, end="", flush=True)
    return done.returncode


def _possible_tasks(file: PipelineFile) -> str:
    """Write the data sets of all tasks that can run on this machine; return the override that keeps only those."""
    tasks = file.resolved()["tasks"]
    return f"tasks={json.dumps({name: tasks[name] for name in file.tasks if _prepared(file, name)})}"


def _prepared(file: PipelineFile, name: str) -> bool:
    """Write a task's data set and return True; where the task needs what is not installed, print that, return False."""
    task = find_task(file.task(name))
    if missing := missing_requirements(task):
        print(f"without {name}, which needs {'; '.join(missing)}: `mimbench doctor` says how")
        return False
    root = load_work(file.tasks[name], task.name).config.data.root
    if task.writer is not None and root is not None and Path(root) != DIGITS:
        print(f"data: {root}, {task.writer(Path(root))}", flush=True)
    return True
