"""Formats that programs read, each read back by somebody else's library: the digits are those of the page."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.encoders import find_architecture
from benchmarks.runs.record import RunRecord
from reports.leaderboard.board import Leaderboard, Request, make
from reports.leaderboard.lines import published_beside
from reports.records.rows import Row, TransferRun
from reports.tables.csv_json_parquet import to_csv, to_json, to_parquet, typed_rows
from reports.tables.latex import to_latex
from reports.tables.table import tables_of
from reports.text import one_line
from tests.reports import factory
from tests.reports.hostile import NAMES, hostile_runs
from tests.support.libraries import library


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    root = tmp_path_factory.mktemp("data")
    runs = (str(factory.study(root / "digits")), str(factory.zoo(root / "imagenet")))
    return make(Request(runs, "supervised"))


def row_of(record: RunRecord) -> Row:
    assert record.task is not None
    assert record.encoder is not None
    return Row((TransferRun(Path(), record, record.task, record.encoder),))


def test_json_has_the_numbers_of_csv(study: Leaderboard) -> None:
    document = json.loads(to_json(study))
    lines = list(csv.DictReader(io.StringIO(to_csv(study))))
    assert len(document["rows"]) == len(lines) == 4 + 8 + 21
    numbers = 0
    for row, line in zip(document["rows"], lines, strict=True):
        assert row.keys() == line.keys()
        for name, value in row.items():
            if isinstance(value, int | float):
                assert value == float(line[name])
                numbers += 1
            else:
                assert (value or "") == line[name]
    assert numbers > 200


def test_json_says_what_was_asked_and_what_was_left_out(study: Leaderboard) -> None:
    document = json.loads(to_json(study))
    assert document["request"]["baseline"] == "supervised"
    assert document["request"]["runs"] == list(study.request.runs)
    assert {left["reason"].split(":")[0] for left in document["left_out"]} == {"still started", "failed"}
    assert len(document["left_out"]) == 2


def test_parquet_is_read_by_pandas_as_the_same_table(study: Leaderboard) -> None:
    frame = pd.read_parquet(io.BytesIO(to_parquet(study)))
    assert frame["top1_last_mean"].dtype == float
    found = [
        {name: None if value is None or value != value else value for name, value in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]
    expected = typed_rows(study)
    assert found == expected


def test_published_numbers_are_of_another_kind_in_every_format(study: Leaderboard) -> None:
    rows = [row for row in typed_rows(study) if row["kind"] == "reported"]
    assert {row["task"] for row in rows} == {"imagenet1k"}
    assert all(row["top1_last_n"] is None and row["top1_delta"] is None and row["source"] for row in rows)
    assert {row["delta_note"] for row in rows} == {"reported, not compared"}
    simmim = [row for row in rows if row["architecture"] == "Swin-B" and row["pretrain_epochs"] == 800]
    assert [row["top1_last_mean"] for row in simmim] == [84.0, 83.8]  # SimMIM's own and mmselfsup's
    tex = to_latex(study)
    assert "Reported elsewhere: published numbers, not measured here and not comparable" in tex
    assert "simmim Swin-B, fine-tuned, 800 epochs, 224 px; microsoft/" in tex
    assert "SimMIM & 84.0 &" in tex


def test_published_numbers_are_shown_as_asked_for(tmp_path: Path) -> None:
    runs = (str(factory.zoo(tmp_path)),)

    def backbones(**asked: object) -> set[object]:
        board = make(Request(runs, "supervised", **asked))  # type: ignore[arg-type]
        return {quote.first.backbone for section in board.sections for quote in section.published}

    assert backbones(references="none") == set()
    assert backbones() == {"Swin-T", "Swin-S", "Swin-B", "Swin-L"}
    assert {"ViT-B", "SwinV2-g"} <= backbones(references="all")
    board = make(Request(runs, references="all"))
    assert all(one.verified for section in board.sections for quote in section.published for one in quote.references)
    board = make(Request(runs, references="all", unverified=True))
    assert any(quote.first.method == "dino" for section in board.sections for quote in section.published)


TOP1_BESIDE = {
    "digits_swin": set(),
    "swinv2_giant_window12": set(),
    "swinv2_huge_window12": {"85.7", "87.1", "86.34", "86.27"},
    "swinv2_giant_modelhub_window12": {"86.46", "86.53"},
    "swinv2_large_window12": {"85.91", "86.9"},
    "swinv2_base_window12": {"85.04", "84.2", "86.2"},
    "swin_tiny_window6": {"81.2", "80.9"},
    "swin_base_window6": {"82.8", "83.5", "84.0", "83.582", "85.2", "82.9"},
    "swin_large_window12": {"85.4", "86.3"},
    "simmim_vit_base": {"83.8", "83.57", "82.3", "81.8"},
}
"""Some of the published accuracies beside a row of each encoder; those of one stand beside no other."""


@pytest.mark.parametrize("name", TOP1_BESIDE)
def test_published_rows_are_those_of_the_true_architecture(name: str) -> None:
    use = factory.encoder("simmim", architecture=find_architecture(name))
    row = row_of(factory.transfer(encoder=use))
    shown = {found.value("top1") for found in published_beside("imagenet1k", [row], "same", unverified=False)}
    assert TOP1_BESIDE[name] <= shown
    if not TOP1_BESIDE[name]:
        assert shown <= {""}
    if name.startswith("swinv2_huge"):
        assert "85.91" not in shown


TABLES = (29, 4, 6, 2, 10)
"""Rows with an accuracy in SimMIM's tables of masks, heads, resolutions, areas and targets."""


def test_ablations_are_shown_where_all_is_asked_for() -> None:
    use = factory.encoder("simmim", architecture=find_architecture("swin_base_window6"))
    row = row_of(factory.transfer(encoder=use))
    beside = published_beside("imagenet1k", [row], "same", unverified=False)
    assert not any(each.ablation for found in beside for each in found.references)
    assert sum(found.first.ablation for found in published_beside("imagenet1k", [row], "all", unverified=False)) == sum(
        TABLES
    )


def test_cost_is_that_computed_by_hand(study: Leaderboard) -> None:
    # three seeds on 8 GPUs for 21,600 + 0, 60, 120 s: 8 * 21,660 s = 48.13 h
    (row,) = (row for row in typed_rows(study) if row["encoder"] == "supervised (Swin-T)")
    assert (row["gpu_hours_per_run"], row["parameters_millions"]) == (48.13, 28.3)
    (digits,) = (row for row in typed_rows(study) if row["encoder"] == "simmim")
    assert digits["gpu_hours_per_run"] is None  # on a CPU


def test_latex_reads_back_as_the_table(study: Leaderboard) -> None:
    cells = latex_cells(to_latex(study))
    for table in tables_of(study):
        for column in table.in_blocks("scores", "settings"):
            for line, text in zip(table.section.lines, table.texts[column.title], strict=True):
                assert (column.title, line.name, text) in cells


def test_latex_sets_hostile_names_as_characters(tmp_path: Path) -> None:
    board = make(Request((str(hostile_runs(tmp_path)),), NAMES[0]))
    assert {plain(one_line(name)) for name in NAMES} <= {name for _, name, _ in latex_cells(to_latex(board))}


def latex_cells(tex: str) -> set[tuple[str, str, str]]:
    """Return (title, first cell of the row, cell) of all tables, as pylatexenc reads them."""
    latex2text = library("pylatexenc.latex2text", "pylatexenc")  # it knows LaTeX's own names of characters
    reader = latex2text.LatexNodes2Text(math_mode="text")
    found: set[tuple[str, str, str]] = set()
    titles: list[str] = []
    for line in tex.splitlines():
        if line.endswith(r"\\") and not line.startswith((r"\multicolumn", r"\caption")):
            cells = [plain(reader.latex_to_text(cell)) for cell in line.removesuffix(r"\\").split(" & ")]
            titles = cells if cells[0] == "Encoder" else titles
            found |= {(title, cells[0], cell) for title, cell in zip(titles, cells, strict=True)}
    return found


def plain(text: str) -> str:
    """Return `text` with straight quotes and carets, as one types them, and single spaces."""
    curly = {"“": '"', "”": '"', "‘": "`", "’": "'", "ˆ": "^"}  # noqa: RUF001
    return " ".join("".join(curly.get(char, char) for char in text).split())


def test_no_number_is_ever_not_a_number(study: Leaderboard) -> None:
    values = [value for row in typed_rows(study) for value in row.values() if isinstance(value, float)]
    assert all(map(math.isfinite, values))
