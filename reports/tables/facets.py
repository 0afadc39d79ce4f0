"""By what a page narrows all of its tables down: architecture, size, pretraining data, protocol."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.catalogue.backbones import backbone_name
from reports.leaderboard.lines import PROTOCOLS, Line, Measured
from reports.records.architectures import architecture_name
from reports.tables.cells import pretraining_data
from reports.text import one_line

FACETS = {"architecture": "Architecture", "size": "Size", "data": "Pretraining data", "protocol": "Protocol"}
"""What each facet is called, by its name in addresses."""
UNKNOWN = "unknown"
SIZES_MILLIONS = (10, 50, 100, 300, 1000)
"""Parameters at which a size begins."""


def facets_of(line: Line) -> dict[str, str]:
    """Return a line's value of every facet, by the facet's name."""
    if not isinstance(line, Measured):
        values = (line.first.backbone, UNKNOWN, UNKNOWN, PROTOCOLS[line.first.protocol])
        return _named(values)
    row = line.row
    architecture = backbone_name(row.architecture) or architecture_name(row.architecture)
    data = UNKNOWN if line.budget is None else pretraining_data(line.budget)
    return _named((architecture, _size(line), data, PROTOCOLS.get(row.protocol, row.protocol)))


def _named(values: Sequence[str]) -> dict[str, str]:
    return dict(zip(FACETS, map(one_line, values), strict=True))


def _size(entry: Measured) -> str:
    known = [record.load_report.parameters for record in entry.row.records if record.load_report]
    if not known or known[0] is None:
        return UNKNOWN
    millions = known[0] / 1e6
    below = [limit for limit in SIZES_MILLIONS if millions < limit]
    above = [limit for limit in SIZES_MILLIONS if millions >= limit]
    if not above:
        return f"under {below[0]} M parameters"
    return f"{above[-1]} to {below[0]} M parameters" if below else f"{above[-1]} M parameters or more"
