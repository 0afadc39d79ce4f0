"""A report's column: when the first of a row's runs was started."""

from __future__ import annotations

from reports.tables.column import Field, row_column

STARTED = row_column(
    "Started", Field("example_started"), lambda row: min(record.started_at for record in row.records)[:10]
)
