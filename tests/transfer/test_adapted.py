"""Transfers of every kind that train low-rank adapters: what they leave frozen, record, export and continue."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from benchmarks.encoders import read_manifest
from tests.support.processes import finished, launch
from tests.support.runs import assert_close_training, assert_same_end, only_run, record_of, stop_after, trained
from tests.support.small import RANDOM
from tests.transfer.kinds import KINDS, Kind

ADAPTED = ("adapters.rank=2", "adapters.alpha=4")
UNMIXED = ("drop_path_rate=0", "augmentation.mixup=0", "augmentation.cutmix=0")


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_only_adapters_and_heads_are_trained(
    kind: Kind, simmim_run: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kind.require()
    command = kind.command(kind.cut(request.getfixturevalue(kind.whole), tmp_path / "data"))
    start = ["--encoder", str(simmim_run)]
    folder = trained([*command, *kind.shorter, *kind.exporting, *start, *ADAPTED], tmp_path / "runs")
    record = record_of(folder)
    assert record.load_report is not None
    assert record.trained_parameters is not None
    assert any(note.startswith("low-rank adapters: ") for note in record.load_report.notes)
    assert record.recipe.resolved["adapters"] == {"rank": 2, "alpha": 4.0, "targets": "attention"}
    history = read_manifest(folder / "encoder").history
    assert history is not None
    assert history[-1].method == "supervised (low-rank adapters)"

    before, after = (load_file(each / "encoder" / "encoder.safetensors") for each in (simmim_run, folder))
    resized = {each.name for each in record.load_report.resized}
    changed = {name for name in after.keys() - resized if not after[name].equal(before[name])}
    assert changed
    assert {name.partition("attn.")[2] for name in changed} <= {"qkv.weight", "proj.weight"}
    again = trained([*command, *kind.shorter, "--encoder", str(folder)], tmp_path / "again")
    report = record_of(again).load_report
    assert report is not None
    assert report.complete
    trained_whole = record_of(again).trained_parameters
    assert trained_whole is not None
    assert trained_whole - record.trained_parameters > 0.9 * report.parameters


def test_a_stopped_training_of_adapters_continues_to_the_same_bits(transfer_command: list[str], tmp_path: Path) -> None:
    command, runs = [*transfer_command, *RANDOM, *ADAPTED, "layer_decay=0.8", "ema_decay=0.9"], tmp_path / "disturbed"
    undisturbed = trained(command, tmp_path / "undisturbed")
    stop_after(command, runs, 3)
    assert_same_end(trained(command, runs), undisturbed, ("predictions.csv",))


def test_two_processes_train_divided_adapters_as_one(transfer_command: list[str], tmp_path: Path) -> None:
    command = [
        *transfer_command,
        *RANDOM,
        *ADAPTED,
        "drop_path_rate=0",
        "augmentation.mixup=0",
        "augmentation.cutmix=0",
    ]
    one = trained(command, tmp_path / "one")
    ended = finished(launch([*command, "training.sharded=true", "--runs", str(tmp_path / "two")]))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert_close_training(one, only_run(tmp_path / "two"))
    exported = [load_file(each / "encoder" / "encoder.safetensors") for each in (one, only_run(tmp_path / "two"))]
    assert exported[0].keys() == exported[1].keys()
