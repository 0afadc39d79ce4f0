"""What stands in a cell: every number is formatted here, once, for all formats."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Callable, Iterable, Sequence

from benchmarks.runs.record import LoadReport, RunRecord
from reports.compare.score_difference import Comparison
from reports.records.ancestry import Budget
from reports.records.rows import Row, Spread

Parts = tuple[str, ...]
"""The pieces of a cell's text; programs read them, and people read them joined."""


def fixed(value: float | None, decimals: int, sign: str = "") -> str:
    """Format a number with `decimals` places; None is empty, and minus zero is zero."""
    return "" if value is None else f"{value:{sign}z.{decimals}f}"


def spread_parts(spread: Spread | None) -> Parts:
    """Return mean, deviation and n as text; each is empty where there is none."""
    if spread is None:
        return ("", "", "")
    return (fixed(spread.mean, 2), fixed(spread.std, 2), str(spread.n))


def join_spread(mean: str, std: str, n: str) -> str:
    """Write mean, deviation and n: `93.52 ± 0.41 (n = 3)`; one run has no deviation, a published number no n."""
    if not n:
        return mean
    return f"{mean} ± {std} (n = {n})" if std else f"{mean} (n = {n})"


def delta_parts(found: Comparison) -> Parts:
    """Return a difference, the ends of its interval, how that was computed, and the note."""
    low, high, _, method = found.interval or (None, None, None, "")
    numbers = (fixed(number, 2, "+") for number in (found.delta, low, high))
    return (*numbers, method, found.note)


def join_delta(delta: str, low: str, high: str, method: str, note: str) -> str:
    """Write a difference, its interval and its note: `+0.52 [+0.11, +0.93] (paired t, n = 3)`."""
    interval = f"{delta} [{low}, {high}] ({method})" if low else delta
    return ", ".join(part for part in (interval, note) if part)


def p_value(value: float | None) -> str:
    """Return a p-value to three decimals; None is empty."""
    return "< 0.001" if value is not None and value < 0.001 else fixed(value, 3)


def coverage(row: Row) -> str:
    """Return the smallest share of the encoder that a run loaded, in percent; empty for random weights."""
    reports = [record.load_report for record in row.records if record.load_report]
    if row.encoder.init_stage == "random" or not reports:
        return ""
    return fixed(min(report.coverage_percent for report in reports), 2)


def parity(row: Row) -> str:
    """Return how the encoder's features compare with another reading of it; empty where that was not measured."""
    known = [record.load_report.parity for record in row.records if record.load_report and record.load_report.parity]
    return max(known, key=lambda each: each.difference).in_words().removeprefix("parity ") if known else ""


def implausible(row: Row) -> str:
    """Return what speaks against an encoder's having been trained, where a person allowed it; else empty."""
    odd = [one for record in row.records if record.load_report for one in record.load_report.implausible[:1]]
    return odd[0] if odd else ""


def parameters_millions(row: Row) -> str:
    """Return the encoder's parameters in millions, as text; empty where they were not counted."""
    known = [record.load_report.parameters for record in row.records if record.load_report]
    return fixed(known[0] / 1e6, 1) if known and known[0] is not None else ""


def mean(values: Iterable[float | None], decimals: int) -> str:
    """Format the mean of what is known."""
    return fixed(mean_of(values), decimals)


def mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def hours(value: float | None) -> str:
    """Format hours with two decimals, and fewer than 0.1 with two digits that say something."""
    return fixed(value, 2) if value is None or not 0 < value < 0.1 else f"{float(f'{value:.1e}'):.8f}".rstrip("0")


def gpu_hours(record: RunRecord) -> float | None:
    """Return the hours of all GPUs together, over all attempts; None for a run on the CPU."""
    on_cpu = record.environment.device.startswith("cpu")
    return None if on_cpu else record.seconds * record.processes / 3600


def pretraining_data(budget: Budget) -> str:
    """Name the data sets that an encoder had seen before the row's own training, each once, in order."""
    names = [each.data.name if each.data else "unknown" for each in budget.before]
    return " + ".join(dict.fromkeys(names)) or "none"


def step_milliseconds(record: RunRecord) -> float | None:
    """Return the time of an optimiser step; None where it was not measured."""
    return None if record.seconds_per_step is None else 1000 * record.seconds_per_step


def gflops_per_image(record: RunRecord) -> float | None:
    """Return 1e9 operations of a forward pass on one image or clip; None where they were not counted."""
    return None if record.flops_per_image is None else record.flops_per_image / 1e9


def choice(record: RunRecord) -> str:
    """Return which classifier of a probe's grid a run's score is of; empty where there was no grid."""
    chosen = record.choice
    if chosen is None:
        return ""
    scores = {"top-1": chosen.held_out_top1, "mIoU": chosen.held_out_mIoU}
    found = [f"held-out {name} {fixed(score, 2)}" for name, score in scores.items() if score is not None]
    return f"{chosen.member} ({', '.join(found)})"


def each(value: Callable[[RunRecord], str]) -> Callable[[Row], str]:
    """Return the runs' values, each named once; where they differ, all of them in the order of the seeds."""

    def joined(row: Row) -> str:
        return "; ".join(dict.fromkeys(filter(None, map(value, row.records))))

    return joined


def load(report: LoadReport | None) -> str:
    """Write a load report in one line."""
    if report is None:
        return ""
    words = f"{report.source_format}: {report.loaded} of {report.expected} tensors"
    words += f", {fixed(report.coverage_percent, 2)} % of the parameters"
    resized = [f"{one.name} {one.from_shape} to {one.to_shape} ({one.mode})" for one in report.resized]
    words += f", resized: {', '.join(resized)}" if resized else ""
    words += f", {report.parity.in_words()}" if report.parity else ""
    if odd := report.implausible:
        words += f"; implausible weights were allowed: {odd[0]}" + (f" and {len(odd) - 1} more" if odd[1:] else "")
    return words + "".join(f"; {note}" for note in report.notes)


def software(record: RunRecord) -> str:
    """Return the versions of Python and of the packages, in one line."""
    packages = ", ".join(f"{name} {version}" for name, version in record.environment.packages.items())
    return f"Python {record.environment.python}, {packages}"


def command(record: RunRecord) -> str:
    """Return what to type for the same run: the command that made it, without the option that pipelines add."""
    return shlex.join(_without(record.command, "--announce"))


def _without(words: Sequence[str], option: str) -> list[str]:
    if not any(word.startswith(option) for word in words):
        return list(words)
    kept = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word == option:
            del words[:1]
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept


def normalisation(row: Row) -> str:
    """Return how the row's images were normalised; empty where no record says it."""
    found = row.records[0].normalisation
    if found is None:
        return ""
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (found.mean, found.std))
    return f"mean {mean}, std {std}"


def test_images(row: Row) -> str:
    """Return how the row's test images were resized and cropped, or else interpolated; empty where nothing says it."""
    record = row.records[0]
    recipe = record.recipe.resolved
    data = recipe.get("data")
    own = data.get("test_interpolation") if isinstance(data, dict) else None
    return record.test_images or str(own or recipe.get("interpolation") or "")
