"""Everything that can be said of a checkpoint before it is used."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from benchmarks.catalogue.suites import TASKS_OF
from benchmarks.catalogue.tasks import TASKS, Task
from benchmarks.config import find_recipe, schema_for, validate
from benchmarks.errors import UserError
from benchmarks.files.yaml_files import read_yaml
from benchmarks.runs.record import Parity
from transfer.adapter import adapter_for
from transfer.checkpoint.layouts.names import differing
from transfer.encoder.proof.loading import implausible_in, is_head, is_ignored
from transfer.sources.kept_parity import read_parity
from transfer.sources.opened import OpenedEncoder

FAULTS = ("missing", "mismatched", "unexpected")
_LAYER = re.compile(r"(patch_embed|layers\.\d+\.blocks\.\d+|layers\.\d+\.downsample|blocks\.\d+)\.")


def inspect(encoder: OpenedEncoder) -> dict[str, Any]:
    """Return what is known as JSON data: identity, contents, statistics, and what each task would load."""
    tensors = {name: t for name, t in encoder.weights.items() if not is_head(name) and not is_ignored(name)}
    tasks = _tasks(encoder)
    faults = [fault.split(":")[0] for report in tasks.values() for kind in FAULTS for fault in report.get(kind, ())]
    return {
        "format": encoder.layout,
        "container": encoder.container,
        "architecture": encoder.architecture.name,
        "arguments": encoder.architecture.arguments,
        "image_size_px": encoder.image_size_px,
        "patch_size_px": encoder.patch_size_px,
        "window_size": encoder.window_size,
        "stage": encoder.stage,
        "epochs": encoder.epochs,
        "sha256": encoder.sha256,
        "tensors": len(tensors),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "mean": encoder.normalisation and list(encoder.normalisation.mean),
        "std": encoder.normalisation and list(encoder.normalisation.std),
        "normalisation_stated_by": encoder.normalisation and encoder.normalisation.stated_by,
        "implausible": list(implausible_in(encoder.weights)),
        "parity": parity.in_words() if (parity := _kept(encoder)) else None,
        "remarks": list(encoder.remarks),
        "assumed": dict(encoder.assumed),
        "facts": encoder.facts,
        "layers": layer_statistics(tensors),
        "in_the_file": differing(encoder.names, dict.fromkeys([*tensors, *faults])),
        "tasks": tasks,
    }


def _kept(encoder: OpenedEncoder) -> Parity | None:
    return None if encoder.file is None else read_parity(encoder.file, encoder.sha256, encoder.architecture)


def _tasks(encoder: OpenedEncoder) -> dict[str, dict[str, Any]]:
    """Return what each task would load; tasks that share a recipe load the same. Those of suites are left out."""
    in_suites = {part.name for parts in TASKS_OF.values() for part in parts}
    tasks = [task for task in TASKS.values() if task.name not in in_suites]
    recipes = {(task.kind, task.recipe): task for task in tasks}
    reports = {key: would_load(encoder, task) for key, task in recipes.items()}
    return {task.name: reports[task.kind, task.recipe] for task in tasks}


def layer_statistics(tensors: dict[str, Tensor]) -> dict[str, dict[str, float | int]]:
    """Return, by layer, the number of parameters, their mean, standard deviation and largest magnitude, and how many
    are not finite; these are left out of the other statistics.
    """
    layers: dict[str, list[Tensor]] = defaultdict(list)
    for name, tensor in tensors.items():
        layers[layer_of(name)].append(tensor)
    return {name: _statistics(torch.cat([t.flatten().double() for t in parts])) for name, parts in layers.items()}


def layer_of(name: str) -> str:
    """Return the name of the layer under which a tensor is listed."""
    match = _LAYER.match(name)
    return match[1] if match else name.rsplit(".", 1)[0]


def _statistics(values: Tensor) -> dict[str, float | int]:
    good = values[values.isfinite()]
    return {
        "parameters": values.numel(),
        "mean": good.mean().item() if len(good) else 0.0,
        "std": good.std(correction=0).item() if len(good) else 0.0,
        "max_abs": good.abs().max().item() if len(good) else 0.0,
        "not_finite": int(values.numel() - good.numel()),
    }


def would_load(encoder: OpenedEncoder, task: Task) -> dict[str, Any]:
    """Return what the task's own recipe would load of this encoder, or why a transfer would refuse it.

    The kind of task says it, by the functions with which a transfer builds and loads.
    """
    try:
        data = read_yaml(find_recipe("transfer", task.recipe))
        adapter = adapter_for(task)
        recipe: Any = validate(schema_for(adapter.recipe, data), data, task.recipe)
        report = adapter.would_load(recipe, encoder.as_source())
    except UserError as error:
        return {"recipe": task.recipe, "error": " ".join(str(error).split())}
    return {"recipe": task.recipe, **report.model_dump(mode="json")}
