"""The leaderboard for programs: CSV, JSON and Parquet, one row a line, with the digits that people see."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from importlib import metadata

from benchmarks.errors import UserError
from reports.compare.verdict import Verdict
from reports.leaderboard import Leaderboard
from reports.notes import words
from reports.tables.cells import fixed
from reports.tables.columns import Column, Field, Value
from reports.tables.lines import Line
from reports.text import one_line, spreadsheet

SCHEMA_VERSION = 1
"""Of the JSON document."""


def to_csv(board: Leaderboard) -> str:
    """Return one line per row with every field, provenance included; metrics of other tasks stay empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fields = _fields(board)
    writer.writerow(field.name for field in fields)
    for line in _all_parts(board):
        writer.writerow(spreadsheet(line.get(field.name, "")) for field in fields)
    return out.getvalue()


def to_json(board: Leaderboard) -> str:
    """Return the rows with typed values, the sentences around them, what was left out, and what was asked for."""
    told = words(board)
    document = {
        "schema_version": SCHEMA_VERSION,
        "made_by": f"mimbench {metadata.version('mimbench')}",
        "request": asdict(board.request),
        "summary": one_line(told.summary),
        "account": told.account,
        "notes": [one_line(note) for note in told.notes],
        "rows": table(board),
        "early_verdicts": [_verdict(one) for section in board.sections for one in section.verdicts],
        "left_out": [{"record": one_line(left.where), "reason": one_line(left.reason)} for left in board.left_out],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_parquet(board: Leaderboard) -> bytes:
    """Return the rows as one Parquet table. Raises UserError where pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        remedy = "pip install 'mimbench[reports]', or leave parquet out of --formats"
        raise UserError.about("--formats", "parquet", "pyarrow, which writes it", remedy) from None
    types = {str: pa.string(), float: pa.float64(), int: pa.int64()}
    fields = _fields(board)
    schema = pa.schema([pa.field(field.name, types[field.type]) for field in fields])
    out = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(table(board), schema), out)
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


def table(board: Leaderboard) -> list[dict[str, Value]]:
    """Return every row with the same fields, typed; None where there is nothing."""
    fields = _fields(board)
    return [{field.name: field.value(line.get(field.name, "")) for field in fields} for line in _all_parts(board)]


def _fields(board: Leaderboard) -> list[Field]:
    columns = (column for section in board.sections for column in section.columns)
    return list(dict.fromkeys(field for column in columns for field in column.fields))


def _all_parts(board: Leaderboard) -> list[dict[str, str]]:
    return [_parts(section.columns, line) for section in board.sections for line in section.lines]


def _parts(columns: tuple[Column, ...], line: Line) -> dict[str, str]:
    return {
        field.name: part
        for column in columns
        for field, part in zip(column.fields, line.cell(column).parts, strict=True)
    }
