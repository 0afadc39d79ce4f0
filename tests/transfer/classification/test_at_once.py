"""How many test images are classified at once changes no prediction, and nothing of what a run is."""

from __future__ import annotations

from pathlib import Path

import pytest

import mimbench
from tests.support.runs import only_run, record_of, trained
from tests.support.small import RANDOM
from tests.transfer.kinds import rows_of


def test_predictions_are_the_same_in_a_run_and_in_what_is_measured_later(
    transfer_command: list[str], small_digits: Path, tmp_path: Path
) -> None:
    command = [*transfer_command, *RANDOM]
    one, other = (trained(command, tmp_path / str(size), f"training.evaluation_batch_size={size}") for size in (7, 64))
    assert one.name == other.name
    for mine, its in zip(rows_of(one / "predictions.csv"), rows_of(other / "predictions.csv"), strict=True):
        assert mine["path"] == its["path"]
        assert mine["predicted"] == its["predicted"]
    words = [f"data.test_sets.again.root={small_digits}", "data.test_sets.again.split=test"]
    again = ["evaluate", "digits", "--model", str(one), *words, "training.evaluation_batch_size=1"]
    assert mimbench.main(again) == 0
    (added,) = record_of(only_run(tmp_path / "7")).added_test_sets
    assert added.scores["top1"] == pytest.approx(record_of(other).metrics["top1"].last, abs=1e-9)
