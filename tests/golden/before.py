"""Makes what `tests/golden/before/` keeps: `python -m tests.golden.before CHECKOUT SCHEMA_1 SCHEMA_2`.

CHECKOUT holds the version whose output is kept (130fcfa); the others hold the last versions that wrote records of the
schema versions 1 and 2 (5434692 and 88940e4). Later versions have to read what these wrote: do not run it for a change.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.golden import kept
from tests.golden.kept import KEPT, computed

SCRATCH = "--encoder random:encoder.yaml --label scratch"
SHORT = "data.root=data/digits training.epochs=2 training.schedule.warmup_epochs=1"
PROBE = f"{SHORT} evaluate_every_epochs=1"
FINETUNE = f"{PROBE} training.log_every_steps=2"
PRETRAIN = (
    "encoder=encoder.yaml target.resolution_px=4 training.checkpoint_every_steps=100 training.batch_size=128 "
    f"validation.every_epochs=1 {SHORT} training.log_every_steps=2"
)
KNN = "--recipe digits_knn data.root=data/digits"
PROBES = (f"digits --recipe digits_linear {PROBE}", f"digits --recipe digits_attentive layer=3 heads=2 {PROBE}")
DENSE = "drop_path_rate=0.1 training.steps=6 training.schedule.warmup_steps=2 training.log_every_steps=2"
STOPPED = (
    f"digit_scenes data.root=data/digit_scenes head_channels=4 auxiliary_channels=2 {DENSE}",
    "digit_boxes data.root=data/digit_boxes fpn_channels=4 box_head_channels=8 testing.score_threshold=0.0 "
    f"training.schedule.milestone_steps=[5] {DENSE}",
    "digit_motion data.root=data/digit_motion drop_path_rate=0.1 head_dropout=0.5 training.epochs=2 "
    "training.batch_size=80 training.log_every_steps=2",
)
"""Transfers that are also stopped in their middle, with another seed."""


class Desk:
    """A folder in which one version of the program works."""

    def __init__(self, checkout: Path) -> None:
        self.folder, self.checkout = Path(tempfile.mkdtemp()).resolve(), checkout.resolve()
        shutil.copytree(kept.ASKED, self.folder, dirs_exist_ok=True)

    def run(self, *commands: str) -> list[str]:
        """Run commands to their ends; return what they printed."""
        answers = kept.carry_out({command: shlex.split(command) for command in commands}, self.folder, self.checkout)
        for command, answer in answers.items():
            assert answer.code == 0, (command, answer.err)
        return [answer.out for answer in answers.values()]

    def stop(self, command: str, stage: str | None = None) -> Path:
        """Stop a run, or a stage together with its pipeline, after the run's first line; return the run's folder."""
        known = set(self.folder.glob("runs/*"))
        words = [sys.executable, "-m", "mimbench", *shlex.split(command)]
        process = subprocess.Popen(words, cwd=self.folder, env=kept.environment(self.checkout))
        while not (found := set(self.folder.glob(f"pipelines/*/stages/{stage}.json" if stage else "runs/*")) - known):
            assert process.poll() is None, command
            time.sleep(0.05)
        place = found.pop()
        run = Path(json.loads(place.read_text())["run_dir"]) if stage else place
        while not (run / "metrics.jsonl").is_file() or not (run / "metrics.jsonl").stat().st_size:
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        if stage:
            os.kill(json.loads((place.parent.parent / "attempts" / place.name).read_text())["pid"], signal.SIGTERM)
        assert process.wait() == 130, command
        return run


def keep(run: Path, part: str) -> Path:
    place = KEPT / part / run.name
    place.mkdir(parents=True)
    for name in ("record.json", "metrics.jsonl"):
        shutil.copy(run / name, place)
    return place


def make_runs(desk: Desk) -> list[Path]:
    """Make the pipeline, finished and unfinished runs; keep them; return the unfinished ones."""
    desk.run(f"transfer digits {SCRATCH} {KNN}")  # which also writes the digits
    unfinished = [desk.stop("pipeline submit pipeline.yaml --cluster cluster.yaml", stage="digits.early.seed0")]
    pretrained = next(desk.folder.glob("runs/pretrain-*"))
    simmim = f"--encoder runs/{pretrained.name} --label simmim"
    desk.run(
        *(f"transfer digits {encoder} {FINETUNE} --seed 1" for encoder in (SCRATCH, simmim)),
        *(f"transfer {words} {simmim}" for words in (f"digits {KNN}", *PROBES, *STOPPED)),
    )
    unfinished.append(desk.stop(f"pretrain digits_simmim {PRETRAIN} export_epochs=[1] --seed 1"))
    unfinished += [desk.stop(f"transfer {words} {simmim} --seed 1") for words in STOPPED]
    for run in desk.folder.glob("runs/*"):
        place = KEPT / ("unfinished" if run in unfinished else "finished") / run.name
        shutil.copytree(run, place, ignore=shutil.ignore_patterns(".lock"))
        if run in unfinished:
            kept.pack_checkpoints(place)
        shutil.rmtree(place / "checkpoints", ignore_errors=True)
        if run != pretrained:
            shutil.rmtree(place / "encoder", ignore_errors=True)
    ignored = shutil.ignore_patterns("code", "*.pkl", "*.sh", "*lock")
    shutil.copytree(desk.folder / "pipelines", KEPT / "launched", ignore=ignored)
    kept.replace(KEPT / "launched", str(desk.folder), kept.WORK)
    return unfinished


def go_on(desk: Desk, unfinished: list[Path]) -> None:
    """Finish what is unfinished; keep the numbers."""
    desk.run("pipeline resume before")
    desk.run(*(shlex.join(json.loads((run / "record.json").read_text())["command"][1:]) for run in unfinished))
    for run in unfinished:
        (keep(run, "continued") / "computed.json").write_text(json.dumps(computed(run), indent=1) + "\n")
    shutil.copy(next(desk.folder.glob("pipelines/*/report/leaderboard.csv")), KEPT / "continued")


def print_reports(desk: Desk) -> None:
    """Keep what is printed about all that is kept."""
    kept.lay(desk.folder)
    _, *printed = desk.run(
        "report leaderboard runs older --baseline scratch --out report --formats txt,csv,json",
        "report compare simmim scratch --in runs",
        "pipeline status before",
        f"checkpoint inspect {next(desk.folder.glob('runs/pretrain-*/encoder'))}",
    )
    shutil.copytree(desk.folder / "report", KEPT / "printed")
    for name, text in zip(("compare", "status", "inspect"), printed, strict=True):
        (KEPT / "printed" / f"{name}.txt").write_text(text)


if __name__ == "__main__":
    for name in ("finished", "unfinished", "continued", "older", "launched", "printed"):
        shutil.rmtree(KEPT / name, ignore_errors=True)
    (KEPT / "processor.txt").write_text(kept.processor() + "\n")
    newest, *older = map(Path, sys.argv[1:])
    desk = Desk(newest)
    go_on(desk, make_runs(desk))
    for seed, checkout in enumerate(older, start=2):  # another one each: equal ids would contradict each other
        old = Desk(checkout)
        (old.folder / "data").symlink_to(desk.folder / "data")
        old.run(f"transfer digits {SCRATCH} {FINETUNE} --seed {seed}")
        keep(next(old.folder.glob("runs/*")), "older")
    print_reports(Desk(newest))
