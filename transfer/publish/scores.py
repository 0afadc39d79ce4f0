"""The measured scores of a model, from the records of runs, in the form in which Hugging Face's cards have them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult

from benchmarks.catalogue.protocols import load_protocols
from benchmarks.catalogue.task import Task
from benchmarks.catalogue.tasks import TASKS
from benchmarks.config import without_fields
from benchmarks.runs.find import find_runs
from benchmarks.runs.record import RunRecord
from benchmarks.runs.stages import data_name
from benchmarks.text.markup import one_line
from transfer.publish.model import Publication

KINDS = {
    "classification": "image-classification",
    "depth": "depth-estimation",
    "detection": "object-detection",
    "segmentation": "image-segmentation",
    "video": "video-classification",
}
"""What Hugging Face calls our kinds of tasks."""
METRICS = {"top1": "accuracy", "mIoU": "mean_iou"}
"""What Hugging Face calls metrics of ours; others keep their names."""
DIGITS = 4
_PATH = re.compile(r"^([\w.]+=[\"']?)?((?:/|~|\.\.?/).*)$", re.DOTALL)
"""A path, perhaps as the value of an override."""


@dataclass(frozen=True)
class Score:
    """What one run measured."""

    record: RunRecord
    task: Task
    data: str
    """What its data set is called."""
    metrics: dict[str, float]
    """The last epoch's, by our names, the task's own metric first."""

    @property
    def protocol(self) -> str:
        """The name of the protocol that its recipe follows, else of the recipe."""
        recipe = self.record.recipe.name
        return next((each.name for each in load_protocols() if each.has(recipe)), self.recipe)

    @property
    def recipe(self) -> str:
        """The name of its recipe; of one's own file, the file's."""
        return str(_without_folders(self.record.recipe.name))

    def unit(self, metric: str) -> str:
        return self.task.metric(metric).unit

    @property
    def file(self) -> str:
        """The file of the repository that has the run, as far as it is public."""
        return f"runs/{self.record.run_id}.json"

    def public(self) -> bytes:
        """Return the run without hosts, command lines and folders, as JSON; of a path its last name alone stays."""
        record = self.record
        recipe = record.recipe
        placed = set(recipe.placement)
        kept = [each for each in recipe.overrides if not _is_placed(each, placed)]
        assert record.encoder is not None
        assert record.load_report is not None
        report = record.load_report.model_dump(
            mode="json", include={"source_format", "loaded", "expected", "coverage_percent"}
        )
        found: dict[str, Any] = {
            "run_id": record.run_id,
            "task": {"name": self.task.name, "version": record.task.version if record.task else None},
            "data": {"name": self.data, "fingerprint": record.data.fingerprint, "images": record.data.images},
            "seed": record.seed,
            "image_size_px": record.image_size_px,
            "recipe": {
                "name": recipe.name,
                "digest": recipe.digest,
                "overrides": kept,
                "resolved": without_fields(recipe.resolved, placed),
            },
            "encoder": {"method": record.encoder.method, "sha256": record.encoder.sha256},
            "load_report": report,
            "metrics": {name: each.model_dump(mode="json") for name, each in record.metrics.items()},
            "feature": record.feature,
            "device": record.environment.device,
            "packages": record.environment.packages,
            "commit": record.environment.git_commit,
        }
        return (json.dumps(_without_folders(found), indent=2) + "\n").encode()


def _is_placed(override: str, placed: set[str]) -> bool:
    name = override.partition("=")[0].strip()
    return any(name == each or name.startswith(f"{each}.") or each.startswith(f"{name}.") for each in placed)


def _without_folders(value: Any) -> Any:
    """Return JSON data in which every text that begins as a path is the path's last name alone."""
    if isinstance(value, dict):
        return {name: _without_folders(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_folders(inner) for inner in value]
    return (
        _PATH.sub(lambda found: f"{found[1] or ''}{found[2].rpartition('/')[2]}", value)
        if isinstance(value, str)
        else value
    )


def find_scores(model: Publication, runs: Sequence[str]) -> tuple[Score, ...]:
    """Return what was measured of a model: of an encoder, by every transfer that started from these very weights; of a
    classifier, by the run that trained it. Transfers are looked for in `runs`, each of them once, in a fixed order.

    Raises UserError for a place without runs.
    """
    if model.num_classes:
        records = [model.record] if model.record else []
    else:
        found = find_runs(runs).runs if runs else []
        records = [each.record for each in found if _started_from(each.record, model.use.sha256)]
    unique = {record.run_id: record for record in records if _counts(record)}
    scores = [_score(record) for record in unique.values()]
    return tuple(
        sorted(scores, key=lambda each: (each.task.name, each.record.recipe.name, each.record.seed, each.file))
    )


def _started_from(record: RunRecord, sha256: str | None) -> bool:
    return record.kind == "transfer" and record.encoder is not None and record.encoder.sha256 == sha256


def _counts(record: RunRecord) -> bool:
    """Tell whether a run ended, had its whole encoder from the checkpoint, and is of a task that is still known."""
    report = record.load_report
    whole = report is not None and report.complete and report.coverage_percent == 100 and not report.implausible
    return record.status == "completed" and whole and record.task is not None and record.task.name in TASKS


def _score(record: RunRecord) -> Score:
    assert record.task is not None
    task = TASKS[record.task.name]
    known = [task.primary_metric, *(metric.name for metric in task.metrics if metric.name != task.primary_metric)]
    metrics = {name: round(record.metrics[name].last, DIGITS) for name in known if name in record.metrics}
    return Score(record, task, one_line(data_name(record, None)), metrics)


def eval_results(scores: Sequence[Score], repository: str | None) -> list[EvalResult]:
    """Return every number for a card's model-index, with its run as the source.

    Each run has a configuration of its own, since results of one configuration share one source there.
    """
    base = f"https://huggingface.co/{repository}/blob/main/" if repository else ""
    return [
        EvalResult(
            task_type=KINDS[score.task.kind],
            task_name=one_line(score.protocol),
            dataset_type=score.task.name,
            dataset_name=score.data,
            dataset_config=score.record.run_id,
            dataset_split="test",
            dataset_args={"fingerprint": score.record.data.fingerprint, "seed": score.record.seed},
            metric_type=METRICS.get(name, name),
            metric_value=value,
            metric_name=f"{name} ({score.unit(name)})" if score.unit(name) else name,
            source_name=score.record.run_id,
            source_url=f"{base}{score.file}",
        )
        for score in scores
        for name, value in score.metrics.items()
    ]
