"""The leaderboard for programs: CSV, JSON and Parquet, one row a line, with the digits that people see."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pandas as pd

from benchmarks.errors import UserError
from benchmarks.version import __version__
from reports.compare.early_verdict import Verdict
from reports.leaderboard.board import Leaderboard
from reports.leaderboard.notes import words
from reports.tables.cells import fixed
from reports.tables.column import Field, Value
from reports.tables.findings import findings_of
from reports.tables.overview import overview_of
from reports.tables.table import tables_of
from reports.text import one_line, spreadsheet

SCHEMA_VERSION = 1
"""The version of the JSON document's fields."""


def to_csv(board: Leaderboard) -> str:
    """Return one line per row with every field, provenance included; metrics of other tasks stay empty."""
    return str(_parts(board).map(spreadsheet).to_csv(index=False, lineterminator="\n"))


def to_json(board: Leaderboard) -> bytes:
    """Return the rows with typed values, the sentences around them, what was left out, and what was asked for."""
    sentences = words(board)
    document = {
        "schema_version": SCHEMA_VERSION,
        "made_by": board.request.made_by or f"mimbench {__version__}",
        "request": board.request.recorded(),
        "summary": one_line(sentences.summary),
        "findings": [one_line(finding) for finding in findings_of(board)],
        "overview": _overview(board),
        "account": sentences.account,
        "notes": [one_line(note) for note in sentences.notes],
        "rows": [],
        "early_verdicts": [_verdict(one) for section in board.sections for one in section.verdicts],
        "left_out": [{"record": one_line(left.where), "reason": one_line(left.reason)} for left in board.left_out],
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    before, after = text.split(NO_ROWS, 1)
    out, between = io.BytesIO(), "\n"
    out.write(f"{before}{NO_ROWS[:-1]}".encode())
    for row in _row_texts(board):
        out.write(f"{between}{row}".encode())
        between = ",\n"
    end = "]" if between == "\n" else "\n ]"
    out.write(f"{end}{after}".encode())
    return out.getvalue()  # which of 50 MB is no copy


NO_ROWS = '\n "rows": []'


def _row_texts(board: Leaderboard) -> Iterator[str]:
    """Yield each row as JSON, as it stands in the document: there may be too many to hold them in another form, too."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    names = [f"   {encode(field.name)}: " for field in fields_of(board)]
    for row in typed(board):
        values = ["null" if value is None else encode(value) for value in row.values()]
        yield "  {\n" + ",\n".join(map(str.__add__, names, values)) + "\n  }"


def _overview(board: Leaderboard) -> list[dict[str, object]]:
    """Return an entry for each encoder of the overview: its standing, score and difference on every task."""
    overview = overview_of(board)
    return [
        {
            "encoder": one_line(each.name),
            "mean_rank": None if each.mean_rank is None else float(each.rank),
            "training": each.price,
            "tasks": [
                {
                    "task": heading.section.task.name,
                    "protocol": one_line(heading.protocol),
                    "score": float(glance.score),
                    "difference": float(glance.difference) if glance.difference else None,
                    "standing": glance.standing,
                }
                for heading, glance in zip(overview.headings, each.glances, strict=True)
                if glance is not None
            ],
        }
        for each in overview.encoders
    ]


def to_parquet(board: Leaderboard) -> bytes:
    """Return the rows as one Parquet table. Raises UserError where pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        remedy = "pip install 'mimbench[reports]', or leave parquet out of --formats"
        raise UserError.about("--formats", "parquet", "pyarrow, which writes it", remedy) from None
    types = {str: pa.string(), float: pa.float64(), int: pa.int64()}
    schema = pa.schema([pa.field(field.name, types[field.type]) for field in fields_of(board)])
    out = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(typed_rows(board), schema), out)
    return out.getvalue()


def _verdict(verdict: Verdict) -> dict[str, object]:
    found = verdict.correlation
    interval = {"spearman": None} if found is None else {"spearman": found.rho, "low": found.low, "high": found.high}
    return {
        "signal": one_line(verdict.signal.words),
        "score": verdict.score,
        "among": one_line(verdict.among),
        "n": len(verdict.pairs),
        **{name: value if value is None else float(fixed(value, 2)) for name, value in interval.items()},
    }


def typed_rows(board: Leaderboard) -> list[dict[str, Value]]:
    """Return every row at once, as `typed` yields them."""
    return list(typed(board))


def typed(board: Leaderboard) -> Iterator[dict[str, Value]]:
    """Yield every row with the same fields, typed; None where there is nothing."""
    fields = fields_of(board)
    rows = _parts(board).itertuples(index=False, name=None)
    yield from ({field.name: field.value(part) for field, part in zip(fields, row, strict=True)} for row in rows)


def fields_of(board: Leaderboard) -> list[Field]:
    """Return the fields of every row: those of all tasks' columns."""
    return list(dict.fromkeys(field for table in tables_of(board) for one in table.columns for field in one.fields))


def _parts(board: Leaderboard) -> pd.DataFrame:
    """Return the rows of all tasks with the fields of all; what a task does not have is empty."""
    return pd.concat([pd.DataFrame(), *(table.parts for table in tables_of(board))]).fillna("")
