"""Everything that can be said of a checkpoint before it is used."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from benchmarks.catalogue.suites import TASKS_OF
from benchmarks.catalogue.task import Task
from benchmarks.catalogue.tasks import TASKS
from benchmarks.config import find_recipe, schema_for, validate
from benchmarks.errors import UserError
from benchmarks.files.yaml_files import read_yaml
from benchmarks.runs.record import Parity
from transfer.adapter import adapter_for
from transfer.checkpoint.layouts.layout import Weights
from transfer.checkpoint.layouts.names import differing
from transfer.encoder.proof.loading import is_head, is_ignored
from transfer.encoder.proof.plausible import implausible
from transfer.sources.kept_parity import read_parity
from transfer.sources.opened import OpenedEncoder

FAULTS = ("missing", "mismatched", "unexpected")
_PIECE = 1 << 18
"""Numbers that are looked at together: as doubles they fit into a processor's cache."""
_LAYER = re.compile(r"(patch_embed|layers\.\d+\.blocks\.\d+|layers\.\d+\.downsample|blocks\.\d+)\.")


def inspect(encoder: OpenedEncoder) -> dict[str, Any]:
    """Return what is known as JSON data: identity, contents, statistics, and what each task would load."""
    tensors = _without_head(encoder)
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
        "implausible": list(implausible(tensors)),
        "parity": parity.in_words() if (parity := _kept(encoder)) else None,
        "remarks": list(encoder.remarks),
        "assumed": dict(encoder.assumed),
        "facts": encoder.facts,
        "layers": layer_statistics(tensors),
        "in_the_file": differing(encoder.names, dict.fromkeys([*tensors, *faults])),
        "tasks": tasks,
    }


def _without_head(encoder: OpenedEncoder) -> Weights:
    """Return the tensors of the encoder itself; torchvision's hidden layers before the head have the head's name."""
    headless = encoder.family == "torchvision"
    return {n: each for n, each in encoder.weights.items() if not is_ignored(n) and (headless or not is_head(n))}


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
    return {name: _statistics(parts) for name, parts in layers.items()}


def layer_of(name: str) -> str:
    """Return the name of the layer under which a tensor is listed."""
    match = _LAYER.match(name)
    return match[1] if match else name.rsplit(".", 1)[0]


def _statistics(tensors: Iterable[Tensor]) -> dict[str, float | int]:
    """Return the statistics of all values together, gathered in pieces: a layer may have gigabytes.

    Source: T. Chan, G. Golub, R. LeVeque, Updating formulae and a pairwise algorithm for computing sample variances.
    """
    parameters, count, mean, squares, largest = 0, 0, 0.0, 0.0, 0.0
    for piece in _pieces(tensors):
        parameters += len(piece)
        values = piece.double()
        if not all(map(math.isfinite, _extremes(values))):
            values = values[values.isfinite()]
        if not len(values):
            continue
        low, high = _extremes(values)
        middle = values.mean().item()
        values = values - middle
        apart, before, count = middle - mean, count, count + len(values)
        mean += apart * len(values) / count
        squares += values.dot(values).item() + apart * apart * before * len(values) / count
        largest = max(largest, -low, high)
    return {
        "parameters": parameters,
        "mean": mean,
        "std": math.sqrt(squares / count) if count else 0.0,
        "max_abs": largest,
        "not_finite": parameters - count,
    }


def _pieces(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    for tensor in tensors:
        values = tensor.detach().reshape(-1)
        yield from (values[start : start + _PIECE] for start in range(0, len(values), _PIECE))


def _extremes(values: Tensor) -> tuple[float, float]:
    if not len(values):
        return 0.0, 0.0
    low, high = values.aminmax()
    return low.item(), high.item()


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
