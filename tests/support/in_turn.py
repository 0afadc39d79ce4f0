"""Several runs in the same two processes, one after the other, and how much of their models each process held."""

from __future__ import annotations

import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import mimbench
from benchmarks import ranks
from benchmarks.engine.checkpoint import Progress
from benchmarks.engine.loop import Loop
from tests.support.ports import free_ports
from tests.support.processes import finished, launch_call
from tests.support.runs import stop_after_step


def in_turn(entries: list[dict[str, Any]], file: Path) -> list[list[dict[str, int]]]:
    """Run every entry; return for each what its two ranks held: elements of the model and of the optimiser's state.

    Beside what is `held` is the number of elements of the `whole`. An entry has a `command` and the folder for its
    `runs`. With `stop`, it is stopped after so many steps, and its runs are copied to `copy`.
    """
    with_ports = [{**entry, "port": port} for entry, port in zip(entries, free_ports(len(entries)), strict=True)]
    said = finished(launch_call(functools.partial(_run_all, with_ports, file)))
    assert [code for code, _, _ in said] == [0, 0], said
    found = [json.loads(Path(f"{file}.{rank}").read_text()) for rank in range(2)]
    return [list(each) for each in zip(*found, strict=True)]


def _run_all(entries: list[dict[str, Any]], file: Path) -> None:
    found = [_run(entry) for entry in entries]
    Path(f"{file}.{ranks.rank()}").write_text(json.dumps(found))


def _run(entry: dict[str, Any]) -> dict[str, int]:
    os.environ["MASTER_PORT"] = str(entry["port"])
    held: dict[str, int] = {}
    train = Loop.train

    def trained(self: Loop[Any]) -> Progress:
        progress = train(self)
        held.update(_elements(self))
        return progress

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "train", trained)
        if "stop" in entry:
            stop_after_step(patch, entry["stop"])
        code = mimbench.main([*entry["command"], "--runs", entry["runs"]])
    assert code == (mimbench.INTERRUPTED if "stop" in entry else 0)
    if "copy" in entry and ranks.is_main():
        shutil.copytree(entry["runs"], entry["copy"])
    return held


def _elements(loop: Loop[Any]) -> dict[str, int]:
    state = [each for values in loop.optimizer.state.values() for each in values.values() if isinstance(each, Tensor)]
    tensors = [*loop.problem.state.parameters(), *loop.problem.model.parameters(), *state]
    local = [each.to_local() if hasattr(each, "to_local") else each for each in tensors]
    return {"held": sum(each.numel() for each in local), "whole": sum(each.numel() for each in tensors)}
