"""What stands in for training: a real run folder and record, a few lines of metrics, and a diary for the test to read.

A test steers a stage by files in the folder CHEAP_STAGES: `<stage>.fail` makes it raise WorkFailed; `<stage>.crash`
makes it crash in its first step (which it saves first, if the file says `saves`); `<stage>.hold` keeps it at work from
step 3 on until the file is gone or a stop is requested; `<stage>.hang` makes it hang in step 3 and ignore signals.
`diary.jsonl` there has a line for each beginning and each end.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks import ranks
from benchmarks.config import Recipe
from benchmarks.data.fingerprint import Fingerprint
from benchmarks.encoders import MANIFEST, WEIGHTS, EncoderManifest, find_architecture
from benchmarks.engine.watch.stop import StopRequest
from benchmarks.errors import Paused, Stopped, WorkFailed
from benchmarks.runs.folder import Run, RunFolder, open_run
from benchmarks.runs.record import MetricValue
from benchmarks.verbs.command import Placing, Work, already_done, claim, first_record
from benchmarks.verbs.result import RunResult

STEPS = 5


def work_on(
    kind: Literal["pretrain", "transfer"],
    argv: Sequence[str],
    args: argparse.Namespace,
    recipe: Recipe[Any],
    identify: Callable[[str], str],
    **fields: Any,
) -> int:
    """Leave a run as the verb would; `identify` gives its id for the fingerprint of its data."""
    desk, stage = Path(os.environ["CHEAP_STAGES"]), args.announce.stem
    root = Path(recipe.config.data.root)
    found = Fingerprint(1, "content", hashlib.sha256(str(root).encode()).hexdigest())
    placing = Placing(args.seed, args.runs, args.announce, getattr(args, "label", None))
    work = claim(("mimbench", kind, *argv), placing, recipe, root, found, identify(str(found)))
    if isinstance(work, RunResult):
        print(already_done(work))
        return 0
    record = first_record(kind, work, "cpu", image_size_px=recipe.config.image_size_px, **fields)
    with (
        contextlib.suppress(Paused),
        open_run(work.folder, record, recipe.to_yaml()) as run,
        StopRequest() as stop,
    ):
        note(desk, stage, "begins")
        if (desk / f"{stage}.fail").exists():
            raise WorkFailed("the loss is not finite")
        for step in range(run.record.steps + 1, STEPS + 1):
            if ranks.is_main():  # which has made the folder
                _log(work, kind, step, fields.get("metrics", {}))
            if step == 3 and (desk / f"{stage}.hang").exists():
                _hang()
            while step >= 3 and (desk / f"{stage}.hold").exists() and not stop.requested:
                time.sleep(0.02)
            if (desk / f"{stage}.crash").exists():
                if (desk / f"{stage}.crash").read_text() == "saves":
                    run.update(steps=step)
                raise ZeroDivisionError("a bug")
            _pause_at_a_rung(run, args, step)
            if stop.requested:
                run.update(steps=step)
                note(desk, stage, f"stops on {stop.requested}")
                raise Stopped(f"{stop.requested} after step {step}; the state is saved")
        note(desk, stage, "ends")
        run.complete(steps=STEPS, exported_sha256=_export(work.folder) if ranks.is_main() else None)
    return 0


def _log(work: Work[Any], kind: str, step: int, metrics: Mapping[str, MetricValue]) -> None:
    """Log a step; of a pretraining the held-out loss that a test gives it, its learning rate; at the end the scores."""
    training = work.config.training
    epoch = (training.epochs or 1) * step / STEPS
    lines = [{"step": step, "total_steps": STEPS, "epoch": epoch, "loss": 1 / step, "eta_seconds": 0.0}]
    if kind == "pretrain":
        lines.append({"step": step, "epoch": epoch, "masked_loss": training.schedule.base_lr})
    if step == STEPS and metrics:
        lines.append({"step": step, "epoch": epoch, **{name: value.last for name, value in metrics.items()}})
    with open(work.folder.metrics, "a") as log:
        log.writelines(json.dumps(line) + "\n" for line in lines)


def _pause_at_a_rung(run: Run, args: argparse.Namespace, step: int) -> None:
    until = getattr(args, "until", None)
    if until is not None and step >= until * STEPS:
        run.update(steps=step)
        raise Paused(f"paused after step {step}")


def _export(folder: RunFolder) -> str:
    """Write an encoder without any tensor, but of this run alone; return its sha256."""
    header = json.dumps({"__metadata__": {"run": folder.path.name}}).encode()
    data = len(header).to_bytes(8, "little") + header
    manifest = EncoderManifest(
        architecture=find_architecture("digits_swin"),
        image_size_px=32,
        patch_size_px=4,
        window_size=4,
        mean=(0.5,),
        std=(0.5,),
        method="simmim",
        init_stage="self-supervised",
        epochs=1,
        recipe="cheap",
        recipe_digest="",
        sha256=hashlib.sha256(data).hexdigest(),
    )
    folder.encoder.mkdir(exist_ok=True)
    (folder.encoder / WEIGHTS).write_bytes(data)
    (folder.encoder / MANIFEST).write_text(manifest.model_dump_json())
    return manifest.sha256


def _hang() -> None:
    """Ignore all signals for ever, as code does that waits for a device."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        signal.pause()


def note(desk: Path, stage: str, event: str) -> None:
    """Add a line to the diary of the test."""
    threads = os.environ.get("OMP_NUM_THREADS")
    who = {"stage": stage, "pid": os.getpid(), "rank": ranks.rank()}
    line = {**who, "event": event, "at": time.time(), "threads": threads, "collects": gc.isenabled()}
    with open(desk / "diary.jsonl", "a") as diary:  # one short append: whole lines, whoever writes beside
        diary.write(json.dumps(line) + "\n")
