"""A pipeline file of every kind of entry, and what becomes of it with some fields replaced."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.errors import UserError
from slurm.graph.check import load_pipeline
from slurm.graph.pipeline import PipelineFile
from slurm.graph.stages import Pipeline, expand

STUDY: dict[str, Any] = {
    "name": "study",
    "pretrain": {"simmim": {"recipe": "digits_simmim", "data": "data", "overrides": ["training.epochs=9"]}},
    "finetune": {
        "supervised": {
            "encoder": {"ref": "random:digits_swin"},
            "task": "digits",
            "recipe": "digits_supervised",
            "data": "data",
            "seed": 7,
        },
        "chained": {"encoder": {"from": "pretrain.simmim"}, "task": "digits", "data": "data"},
    },
    "encoders": {
        "simmim": {"from": "pretrain.simmim"},
        "chained": {"from": "finetune.chained"},
        "scratch": {"ref": "random:digits_swin"},
    },
    "tasks": {"digits": {"recipe": "digits_finetune", "data": "data"}},
    "seeds": [0, 1],
    "baseline": "scratch",
}


def changed(**fields: Any) -> dict[str, Any]:
    """Return the study with fields replaced: `changed(finetune__chained__task=...)`."""
    study = copy.deepcopy(STUDY)
    for path, value in fields.items():
        *parents, last = path.split("__")
        inner = study
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    return study


def load(study: dict[str, Any], *overrides: str) -> PipelineFile:
    Path("study.yaml").write_text(yaml.safe_dump(study))
    return load_pipeline(Path("study.yaml"), overrides)


def graph(study: dict[str, Any]) -> Pipeline:
    return expand(load(study), Path("pipelines/study-1"), Path("runs"))


def refusal(study: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(study, *overrides)
    return str(caught.value)
