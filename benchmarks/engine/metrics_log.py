"""metrics.jsonl: one JSON object a line. After a resume, lines of steps that are done again are dropped."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import ranks
from benchmarks.files import disk_error, write_atomically


class MetricsLog:
    """Appends numbers to a run's metrics.jsonl; only the main rank does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`, and a last line that a crash cut short; broken bytes stop nothing."""
        if not ranks.is_main() or not self.path.exists():
            return
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise disk_error(error, self.path, 0) from error
        kept = [line for line in text.splitlines() if _step(line) <= step]
        write_atomically(self.path, "".join(f"{line}\n" for line in kept).encode())

    def write(self, **numbers: float) -> None:
        """Append one line. Raises WorkFailed when the disk is full."""
        if not ranks.is_main():
            return
        line = json.dumps({key: _rounded(value) for key, value in numbers.items()}) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise disk_error(error, self.path, len(line)) from error


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _rounded(value: float) -> float:
    """Keep nine significant digits: more than any of these numbers means."""
    return value if isinstance(value, int) else float(f"{value:.9g}")
