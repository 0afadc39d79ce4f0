"""metrics.jsonl: one JSON object a line, TensorBoard beside it; lines of steps that are done again are dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import ranks
from benchmarks.errors import UserError
from benchmarks.files import disk_error, write_atomically


class MetricsLog:
    """Appends numbers to a run's metrics.jsonl, and to TensorBoard's folder if one is named; on the main rank alone."""

    def __init__(self, path: Path, tensorboard: Path | None = None) -> None:
        """Raises UserError where TensorBoard is wanted and not installed."""
        self.path, self._tensorboard = path, tensorboard
        self._scalars: Any = None
        if tensorboard is not None:
            _summary_writer()

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`, and a last line that a crash cut short; broken bytes stop nothing."""
        if not ranks.is_main():
            return
        if self._tensorboard is not None:
            self.close()
            self._scalars = _summary_writer()(self._tensorboard, purge_step=step + 1)
        if not self.path.exists():
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
        if self._scalars is not None:
            for key in numbers.keys() - {"step", "epoch", "total_steps", "eta_seconds"}:
                self._scalars.add_scalar(key, numbers[key], int(numbers["step"]))

    def close(self) -> None:
        """Write out what TensorBoard still holds back."""
        if self._scalars is not None:
            self._scalars.close()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        rule, remedy = "the package tensorboard", "pip install 'mimbench[tensorboard]'"
        raise UserError.about("training.tensorboard", True, rule, remedy) from None
    return SummaryWriter


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _rounded(value: float) -> float:
    """Keep nine significant digits: more than any of these numbers means."""
    return value if isinstance(value, int) else float(f"{value:.9g}")
