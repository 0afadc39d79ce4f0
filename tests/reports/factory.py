"""Run folders as a training leaves them: real RunRecords, metrics.jsonl, announcements. No training."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.encoders import find_architecture
from benchmarks.runs.find import find_runs
from benchmarks.runs.folder import announce
from benchmarks.runs.identity import recorded_transfer_id
from benchmarks.runs.migrations import parse_record
from benchmarks.runs.record import (
    DataUse,
    EncoderUse,
    Environment,
    LoadReport,
    MetricValue,
    RecipeUse,
    RunRecord,
    TaskUse,
)
from reports.records.collect import Collected, collect
from reports.records.rows import Row, TransferRun

THREE = {0: 93.5, 1: 94.0, 2: 92.75}
"""Scores of three seeds."""
STAGES = {"scratch": "random", "simmim": "self-supervised", "supervised": "supervised"}
ENVIRONMENT = Environment(
    python="3.11.9",
    packages={"torch": "2.15.0", "timm": "1.0.31"},
    git_commit="0123456789ab",
    device="cpu (8 threads)",
    host="laptop",
)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def recipe(name: str = "digits_finetune", **training: Any) -> RecipeUse:
    """Return a recipe whose digest follows from its name and training fields."""
    resolved: dict[str, Any] = {"training": {"epochs": 20, **training}, "data": {"root": "data/digits"}}
    overrides = tuple(f"training.{key}={value}" for key, value in training.items())
    return RecipeUse(
        name=name,
        overrides=overrides,
        digest=sha(f"{name}{training}"),
        resolved=resolved,
        placement=("data.root", *(f"training.{key}" for key in training if key in ("device", "workers"))),
    )


def encoder(label: str, **fields: Any) -> EncoderUse:
    stage = STAGES.get(label, "self-supervised")
    known = {
        "label": label,
        "reference": "random:digits_swin" if stage == "random" else f"hf-hub:lab/{label}",
        "method": {"self-supervised": "simmim"}.get(stage, stage),
        "init_stage": stage,
        "epochs": None if stage == "random" else 40,
        "architecture": find_architecture("digits_swin"),
        "sha256": None if stage == "random" else sha(label),
    }
    return EncoderUse(**{**known, **fields})


def loaded(**fields: Any) -> LoadReport:
    known = {"source_format": "mimbench", "loaded": 97, "expected": 97, "coverage_percent": 100.0}
    return LoadReport(**{**known, **fields})


def data(fingerprint: str = "718 images, content 4f1c2a9be07d3358") -> DataUse:
    return DataUse(root="data/digits", fingerprint=fingerprint, images=718)


def transfer(label: str = "simmim", seed: int = 0, top1: float = 90.0, **fields: Any) -> RunRecord:
    """Return a completed transfer to `digits`; `fields` replace fields of the record."""
    use = fields.pop("encoder", None) or encoder(label)
    chosen = fields.get("recipe") or recipe()
    training: Any = chosen.resolved.get("training", {})
    epochs = training.get("epochs") or 20
    top5 = max(99.25, min(100.0, top1))
    metrics = {
        "top1": MetricValue(last=top1, best=_best(top1) if epochs > 17 else top1, best_epoch=min(17, epochs)),
        "top5": MetricValue(last=top5, best=max(99.5, top5) if epochs > 12 else top5, best_epoch=min(12, epochs)),
    }
    known: dict[str, Any] = {
        "run_id": "",
        "kind": "transfer",
        "status": "completed",
        "task": TaskUse(name="digits", version=1),
        "encoder": use,
        "load_report": None if use.init_stage == "random" else loaded(),
        "recipe": chosen,
        "seed": seed,
        "image_size_px": 64,
        "data": data(),
        "metrics": metrics,
        "steps": 240,
        "seconds": 21.25,
        "images_per_second": 402.5,
        "peak_memory_mb": 612.4,
        "environment": ENVIRONMENT,
        "command": ("mimbench", "transfer", "digits", "--encoder", use.reference, "--seed", str(seed)),
        "started_at": "2026-05-04T10:00:00+00:00",
        "finished_at": f"2026-05-04T10:0{seed % 10}:30+00:00",
    }
    record = RunRecord(**{**known, **fields})
    return record if record.run_id else record.model_copy(update={"run_id": identity(record)})


def _best(top1: float) -> float:
    return min(100.0, top1 + 0.5)


def identity(record: RunRecord) -> str:
    """Return the id that `mimbench transfer` would give, or one of its own for a record that lacks a part."""
    if record.task is None or record.encoder is None:
        return f"odd-{sha(record.model_dump_json())[:12]}"
    return recorded_transfer_id(record)


def pretrain(seed: int = 0, **fields: Any) -> RunRecord:
    known: dict[str, Any] = {
        "run_id": f"digits_simmim-{sha(f'{seed}{fields}')[:12]}",
        "kind": "pretrain",
        "status": "completed",
        "recipe": recipe("digits_simmim"),
        "seed": seed,
        "image_size_px": 64,
        "data": data("1079 images, content 90aa11bb22cc33dd"),
        "exported_sha256": sha("simmim"),
        "environment": ENVIRONMENT,
        "started_at": "2026-05-04T09:00:00+00:00",
        "finished_at": "2026-05-04T09:30:00+00:00",
    }
    return RunRecord(**{**known, **fields})


def write(
    runs: Path, record: RunRecord, lines: Sequence[dict[str, float]] | None = None, name: str | None = None
) -> Path:
    """Write a run folder and return it; `name` differs from the run id only in a copy.

    Without `lines` the log of a transfer has the last step and the last evaluation.
    """
    lines = last_lines(record) if lines is None else lines
    folder = runs / (name or record.run_id)
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(record.model_dump_json(indent=2), encoding="utf-8")
    if lines:
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return folder


def last_lines(record: RunRecord) -> list[dict[str, float]]:
    if record.kind == "pretrain":
        return []
    training: Any = record.recipe.resolved.get("training", {})
    here = {"step": record.steps, "epoch": float(training.get("epochs", 0))}
    scores = {name: value.last for name, value in record.metrics.items()}
    return [*best_lines(record), {**here, "total_steps": record.steps, "loss": 0.5, "lr": 0.0}, {**here, **scores}]


def best_lines(record: RunRecord) -> list[dict[str, float]]:
    """Return the evaluations at which each metric was best, in a log that has no others but the last."""
    best = sorted((value.best_epoch or 0, name, value.best) for name, value in record.metrics.items() if value.best)
    return [{"step": 1, "epoch": float(epoch), name: value} for epoch, name, value in best]


def score_lines(top1: float, start: float, epochs: int = 20, seed: int = 0) -> list[dict[str, float]]:
    """Return evaluation lines that rise from `start` to `top1`, over 240 steps, the record's best epochs among them."""
    noise = random.Random(f"{top1}{seed}")
    lines: list[dict[str, float]] = []
    for epoch in range(1, epochs + 1):
        value = top1 - (top1 - start) * math.exp(-epoch / 3.5) + noise.gauss(0, 0.35) if epoch < epochs else top1
        value = _best(top1) if epoch == 17 < epochs else value
        here = {"step": epoch * 240 // epochs, "epoch": float(epoch)}
        lines.append({**here, "total_steps": 240, "loss": 2.3 * math.exp(-epoch / 9), "lr": 1e-3})
        lines.append({**here, "top1": min(value, 100.0), "top5": 99.5 if epoch == 12 < epochs else 99.25})
    return lines


def loss_lines(epochs: int = 40, per_epoch: int = 30) -> list[dict[str, float]]:
    noise = random.Random(0)
    steps = range(1, epochs * per_epoch + 1)
    return [
        {"step": step, "epoch": step / per_epoch, "loss": 0.11 + 0.6 * math.exp(-step / 150) + noise.gauss(0, 0.012)}
        for step in steps
    ]


SCORES = {"simmim": (95.6, 96.4, 95.9), "supervised": (94.7, 95.1, 94.8), "scratch": (90.3, 92.1, 91.6)}


def study(root: Path) -> Path:
    """Write a whole study of 13 runs below `root` and return its runs folder.

    A pretraining, a supervised training, three encoders by three seeds, a failed run and one that is still going;
    `root/stages` holds the announcements.
    """
    runs = root / "runs"
    parent = pretrain()
    announce(root / "stages/pretrain.json", write(runs, parent, loss_lines()))
    trained = transfer("scratch", 0, 91.4, recipe=recipe("digits_supervised", epochs=40), exported_sha256=sha("super"))
    announce(root / "stages/supervised.json", write(runs, trained, score_lines(91.4, 15.0, 40)))
    parents = {"simmim": (parent.run_id,), "supervised": (trained.run_id,), "scratch": ()}
    for label, scores in SCORES.items():
        for seed, top1 in enumerate(scores):
            record = transfer(label, seed, top1, parents=parents[label], seconds=20.0 + seed, images_per_second=400.0)
            folder = write(runs, record, score_lines(top1, 12.0 if label == "scratch" else 55.0, seed=seed))
            announce(root / f"stages/{label}-{seed}.json", folder)
    write(
        runs, transfer("simmim", 3, status="failed", error="WorkFailed: the loss is not finite at step 77", metrics={})
    )
    write(runs, transfer("simmim", 4, status="started", metrics={}, finished_at=None))
    return runs


SIZES = {"tiny": (28.3e6, 81.0), "small": (49.6e6, 83.0), "base": (87.8e6, 83.5), "large": (196.5e6, 84.0)}
GAINS = {"tiny": 0.1, "small": 0.4, "base": 0.9, "large": 1.4}


def zoo(root: Path) -> Path:
    """Write a study of four sizes of Swin on ImageNet on eight GPUs and return its runs folder.

    SimMIM gains the more, the larger the model; its held-out masked loss falls and its AvgDist rises with its accuracy.
    """
    runs = root / "runs"
    gpus = ENVIRONMENT.model_copy(update={"device": "NVIDIA H100 80GB HBM3", "host": "node-3"})
    shared: dict[str, Any] = {
        "task": TaskUse(name="imagenet1k", version=1),
        "image_size_px": 192,
        "environment": gpus,
        "processes": 8,
    }
    shared["data"] = data("1331167 images, sizes 0123456789abcdef")
    for number, (size, (parameters, top1)) in enumerate(SIZES.items()):
        loss = MetricValue(last=0.52 - 0.02 * number, best=0.52 - 0.02 * number, best_epoch=100)
        distance = MetricValue(last=7.5 + 3 * number)
        measured = {"masked_loss": loss, "avg_dist_px": distance}
        parent = pretrain(number, metrics=measured, environment=gpus, processes=8, seconds=9e4)
        write(runs, parent, loss_lines(20, 10))
        for method, gain in (("supervised", 0.0), ("simmim", GAINS[size])):
            use = encoder(method, architecture=find_architecture(f"swin_{size}_patch4_window7_224"))
            use = use.model_copy(update={"sha256": sha(size + method)})
            for seed in range(3):
                score = top1 + gain + 0.05 * (seed - 1) * (1 if method == "simmim" else -1)
                record = transfer(
                    encoder=use,
                    seed=seed,
                    top1=score,
                    recipe=recipe("imagenet1k_swin_224", epochs=30),
                    load_report=loaded(parameters=int(parameters)),
                    parents=(parent.run_id,) if method == "simmim" else (),
                    seconds=3600.0 * (6 + 5 * number) + 60 * seed,
                    images_per_second=9000.0 / (number + 1),
                    **shared,
                )
                write(runs, record, score_lines(score, 40.0, 30, seed))
    return runs


def collected(*paths: Path | str, task: str | None = None) -> Collected:
    return collect(find_runs([str(path) for path in paths]), task)


def reasons(*paths: Path | str, task: str | None = None) -> list[str]:
    return [left.reason for left in collected(*paths, task=task).left_out]


IMAGES = [(f"test/{label}/{number}.png", label) for label in ("cat", "dog", "owl") for number in range(10)]


def predict(folder: Path, wrong: dict[str, int]) -> None:
    """Write predictions: of each class the first `wrong` images are taken for something else.

    Where the folder has a record, its top-1 becomes that of the predictions, and the log's too.
    """
    lines = ["path,label,predicted"]
    for path, label in IMAGES:
        number = int(Path(path).stem)
        lines.append(f"{path},{label},{'other' if number < wrong.get(label, 0) else label}")
    (folder / "predictions.csv").write_text("\n".join(lines) + "\n")
    if (folder / "record.json").exists():
        top1 = 100 - 100 * sum(wrong.values()) / len(IMAGES)
        record = parse_record((folder / "record.json").read_bytes())
        metrics = {**record.metrics, "top1": MetricValue(last=top1, best=top1, best_epoch=17)}
        record = record.model_copy(update={"metrics": metrics})
        (folder / "record.json").write_text(record.model_dump_json(indent=2))
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in last_lines(record)))


def row(label: str, scores: dict[int, float], **fields: object) -> Row:
    """Return the runs of an encoder, one for each seed with its score, in no folder."""
    records = [transfer(label, seed, top1, **fields) for seed, top1 in scores.items()]
    named = [(one, one.task, one.encoder) for one in records]
    return Row(tuple(TransferRun(Path(), one, task, use) for one, task, use in named if task and use))
