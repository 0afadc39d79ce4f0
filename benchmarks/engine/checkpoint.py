"""Resumable training state in safetensors and JSON, never a pickle; a crash leaves the last good one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.engine.processes.parallel import divided_like, gathered_tensors
from benchmarks.files.atomic import disk_error, make_folder, sync_folder, temporary_name
from benchmarks.files.json_files import read_json

TENSORS, DATA = "state.safetensors", "state.json"
HOW = ("fused", "foreach")
"""Values of an optimiser's groups that say how it computes: its own hold, not those of who wrote the checkpoint."""


@dataclass
class Progress:
    """What a checkpoint holds besides tensors."""

    unreadable: list[str] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    training_seconds: float = 0.0
    """Seconds spent in steps, over all attempts; evaluation and set-up excluded."""
    losses: list[float] = field(default_factory=list)
    """Losses of the steps since the last log line."""
    skipped: list[int] = field(default_factory=list)
    """Steps (0-based) whose batch was passed over, as its loss or gradient was not finite."""
    overflowed: list[int] = field(default_factory=list)
    """Steps (0-based) that changed nothing, as their scaled gradients overflowed fp16."""
    scale: dict[str, float] = field(default_factory=dict)
    """The scale of the loss and how long it has been left as it is; empty where nothing is scaled."""

    @property
    def without_effect(self) -> tuple[int, ...]:
        """All steps that changed nothing, for the record."""
        return tuple(sorted({*self.skipped, *self.overflowed}))


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and proved whole."""

    path: Path
    data: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def step(self) -> int:
        """How many steps were done when it was written."""
        return int(self.data["step"])

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below `prefix.`, without it."""
        start = f"{prefix}."
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}


@dataclass(frozen=True)
class State:
    """A model and its optimiser, whole: tensors on the CPU by name, and the optimiser's values that are no tensors."""

    tensors: dict[str, Tensor]
    optimizer: dict[str, Any]


def captured(model: nn.Module, optimizer: Optimizer) -> State:
    """Return the state of model and optimiser. Call it on every rank; only the main one's holds tensors."""
    optimizer_data, optimizer_tensors = _split(optimizer.state_dict())
    parts = {"model": model.state_dict(), "optimizer": optimizer_tensors}
    named = ((f"{prefix}.{name}", tensor) for prefix, part in parts.items() for name, tensor in part.items())
    return State(gathered_tensors(named), optimizer_data)


class Checkpoints:
    """The checkpoints of one run; the newest `keep` of them."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def save(self, state: State, step: int, progress: dict[str, Any]) -> Path:
        """Write the state after `step` steps. Raises WorkFailed when the disk is full, UserError when the folder
        cannot be written; older ones stay."""
        data = {"step": step, "progress": progress, "optimizer": state.optimizer}
        path = self._write(step, data, save(state.tensors))
        self.prune(self.keep)
        return path

    def _write(self, step: int, data: dict[str, Any], tensors: bytes) -> Path:
        path = self.folder / f"step_{step:09d}"
        temporary = temporary_name(path)
        text = json.dumps({**data, "sha256": _sha256(data, tensors)}).encode()
        try:
            make_folder(self.folder)
            temporary.mkdir()
            for name, content in ((TENSORS, tensors), (DATA, text)):
                with open(temporary / name, "xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            _remove(path)  # a damaged one of the same step
            temporary.rename(path)
            sync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise disk_error(error, path, len(tensors) + len(text)) from error
        return path

    def latest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint; damaged ones are named on stderr and passed over."""
        for path in sorted(self.folder.glob("step_*"), reverse=True):
            try:
                return read_checkpoint(path)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                print(f"warning: checkpoint {path} is damaged ({error}); using the one before it", file=sys.stderr)
        return None

    def prune(self, keep: int) -> None:
        """Remove all but the newest `keep`, and what interrupted writes have left."""
        for path in [*sorted(self.folder.glob("step_*"))[:-keep], *self.folder.glob(".step_*.tmp")]:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint, or a file that stands where one belongs; what cannot be removed stays."""
    if path.is_file():
        with contextlib.suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint. Raises ValueError when its bytes are not those that were written."""
    data = read_json(path / DATA)
    content = (path / TENSORS).read_bytes()
    if data.pop("sha256") != _sha256(data, content):
        raise ValueError("its bytes are not those that were written")
    return Checkpoint(path, data, load(content))


def _sha256(data: dict[str, Any], tensors: bytes) -> str:
    """Return the digest of both parts of a checkpoint."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode() + hashlib.sha256(tensors).digest()).hexdigest()


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer) -> None:
    """Put model and optimiser back as they were saved; a divided model takes each rank's part."""
    restore_model(checkpoint, model)
    state = _join(checkpoint.data["optimizer"], checkpoint.part("optimizer"))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in state["state"].items():
        state["state"][index] = {key: divided_like(value, parameters[index]) for key, value in values.items()}
    ways = [{name: group[name] for name in HOW if name in group} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, ways, strict=True):
        group.update(own)


def restore_model(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Put a model back as it was saved; a divided one takes each rank's part. Raises RuntimeError for another model."""
    own = model.state_dict()
    saved = checkpoint.part("model")
    model.load_state_dict({name: divided_like(tensor, own.get(name, tensor)) for name, tensor in saved.items()})


def _split(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Split an optimiser's state into JSON data and tensors named `<parameter>.<key>`."""
    tensors = {f"{index}.{key}": value for index, values in state["state"].items() for key, value in values.items()}
    return {"param_groups": state["param_groups"]}, tensors


def _join(data: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    return {"state": state, "param_groups": data["param_groups"]}
