"""`mimbench list pipelines`: the pipeline files that come with the program."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.catalogue import listing
from benchmarks.text.tables import aligned
from slurm.graph.shipped import shipped_pipelines, shortened_studies


def main(argv: Sequence[str]) -> int:
    """Print the list; return the exit code."""
    if argv:  # options are for other lists, and the catalogue says so
        return listing.main(["pipelines", *argv])
    short = shortened_studies()
    rows = [("pipeline", "in short", "what it is")]
    for name, path in shipped_pipelines().items():
        rows.append((name, f"demo --study {name}" if name in short else "", listing.describe(path)))
    print(f"pipelines: {listing.KINDS['pipelines']}\n")
    print(aligned(rows))
    return 0
