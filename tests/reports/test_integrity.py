"""A real run's record, log and predictions say the same; the report believes them and shows what they cost."""

from __future__ import annotations

from pathlib import Path

import mimbench
from reports.data import table
from reports.integrity import altered
from reports.leaderboard import Request, make
from tests.runs import only_run, record_of


def test_what_a_real_transfer_leaves_is_believed(transfer_command: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert mimbench.main([*transfer_command, "--encoder", "random:digits_swin", "--runs", str(runs)]) == 0
    folder = only_run(runs)
    assert altered(folder, record_of(folder)) is None
    board = make(Request((str(runs),)))
    assert board.left_out == ()
    (row,) = table(board)
    # embed_dim 32, depths 2 2 2 2: counted by timm itself
    from timm import create_model

    from benchmarks.encoders import find_architecture

    known = find_architecture("digits_swin")
    model = create_model(known.name, num_classes=0, **known.arguments)
    assert row["parameters_millions"] == round(sum(one.numel() for one in model.parameters()) / 1e6, 1)
    assert str(row["reproduce"]).startswith("mimbench transfer digits data.root=")
    assert "--encoder random:digits_swin" in str(row["reproduce"])
