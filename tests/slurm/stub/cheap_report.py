"""The real `mimbench report` with its text alone, which spares a pipeline of cheap stages the import of matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence

from reports import cli


def main(argv: Sequence[str]) -> int:
    """Write all formats only where REPORT_FORMATS asks for them."""
    formats = os.environ.get("REPORT_FORMATS", "txt")
    return cli.main([*argv, *([] if formats == "all" else ["--formats", formats])])
