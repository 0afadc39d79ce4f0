"""Which records are believed: a real run's and older ones; not those that were edited, or made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mimbench
from benchmarks.encoders import find_architecture
from reports.leaderboard.board import Request, make
from reports.records.integrity import altered
from reports.tables.csv_json_parquet import typed_rows
from tests.reports import factory
from tests.reports.factory import collected, reasons
from tests.runs import only_run, record_of

WIDER = find_architecture("digits_swin").with_arguments(embed_dim=64)


def test_what_a_real_transfer_leaves_is_believed(transfer_command: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert mimbench.main([*transfer_command, "--encoder", "random:digits_swin", "--runs", str(runs)]) == 0
    folder = only_run(runs)
    assert altered(folder, record_of(folder)) is None
    board = make(Request((str(runs),)))
    assert board.left_out == ()
    (row,) = typed_rows(board)
    # embed_dim 32, depths 2 2 2 2: counted by timm itself
    from timm import create_model

    known = find_architecture("digits_swin")
    model = create_model(known.name, num_classes=0, **known.arguments)
    assert row["parameters_millions"] == round(sum(one.numel() for one in model.parameters()) / 1e6, 1)
    assert str(row["reproduce"]).startswith("mimbench transfer digits data.root=")
    assert "--encoder random:digits_swin" in str(row["reproduce"])


@pytest.mark.parametrize(
    ("fields", "contradiction"),
    [
        ({"seed": 4}, "its contents make digits-digits_finetune-"),
        ({"data": factory.data("9 images, content beef").model_dump()}, "its contents make digits-"),
        ({"encoder": factory.encoder("simmim", architecture=WIDER).model_dump()}, "its contents make digits-"),
        ({"metrics": {"top1": {"last": 99.0, "best": 99.0, "best_epoch": 20}}}, "99.0 in the record, 90.0 at the end"),
    ],
)
def test_a_record_edited_by_hand_is_left_out(tmp_path: Path, fields: dict[str, object], contradiction: str) -> None:
    folder = factory.write(tmp_path, factory.transfer(top1=90.0), factory.score_lines(90.0, 9.0))
    assert reasons(tmp_path) == []
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    (reason,) = reasons(tmp_path)
    assert reason.startswith("altered record: ")
    assert contradiction in reason


def test_a_record_of_the_first_schema_version_is_read_as_what_it_was(tmp_path: Path) -> None:
    record = factory.transfer()
    old = json.loads(record.model_dump_json()) | {"schema_version": 1}
    del old["processes"], old["load_report"]["parameters"]
    (tmp_path / "old").mkdir()
    (tmp_path / "old/record.json").write_text(json.dumps(old))
    (row,) = collected(tmp_path).rows
    (read,) = row.records
    assert read.schema_version == 4
    assert read.processes == 1
    assert read == record


@pytest.mark.parametrize("version", [0, -1, [1], {"a": 1}, "1", None, 1.5])
def test_a_schema_version_that_never_was_is_damage(tmp_path: Path, version: object) -> None:
    (tmp_path / "odd").mkdir()
    odd = json.loads(factory.transfer().model_dump_json()) | {"schema_version": version}
    (tmp_path / "odd/record.json").write_text(json.dumps(odd))
    assert reasons(tmp_path) == ["damaged: schema_version: Input should be 4"]


def test_a_score_that_is_no_number_is_damage(tmp_path: Path) -> None:
    text = factory.transfer(top1=91.0).model_dump_json().replace("91.0", "NaN")
    (tmp_path / "nan").mkdir()
    (tmp_path / "nan/record.json").write_text(text)
    assert reasons(tmp_path) == ["damaged: metrics.top1.last: Input should be a finite number"]
