"""Early verdict: do cheap signals of an encoder rank it as the final transfer does?

Signals are what an encoder's pretraining measured (held-out masked loss, AvgDist, ...) and what other protocols on the
same task say of the same weights (k-NN, probes).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from benchmarks.catalogue.published import Reference, load_references
from benchmarks.catalogue.task import Task
from benchmarks.config import digest_of
from benchmarks.runs.find import FoundRun
from benchmarks.runs.record import RunRecord
from benchmarks.runs.rungs import MASKED_LOSS, differing, loss_scale
from reports.compare.rank_correlation import PAIRS_NEEDED, Correlation, spearman
from reports.records.pretrainings import pretraining_of
from reports.records.rows import EVALUATED, FINETUNED, Row


class Signal(NamedTuple):
    """What is cheap to know of an encoder."""

    kind: str
    """The metric's name in the pretraining's record, or the protocol of a probe."""
    words: str
    """The signal in words, with what two values of it must share to be compared."""


@dataclass(frozen=True)
class SignalAndScore:
    """One encoder: its cheap signal and its score."""

    name: str
    signal: float
    score: float
    deviation: float | None = None
    """The score's standard deviation over seeds; None for one seed, and where it was not published."""


@dataclass(frozen=True)
class Verdict:
    """A signal against the score, over encoders whose scores are comparable."""

    signal: Signal
    score: str
    among: str
    """What the encoders share."""
    pairs: tuple[SignalAndScore, ...]

    @cached_property
    def correlation(self) -> Correlation | None:
        return _spearman(self.pairs)

    @property
    def words(self) -> str:
        """What was found, in one sentence."""
        found = self.correlation
        question = f"{self.signal.words} against {self.score} ({self.among})"
        if found is None:
            why = f"{len(self.pairs)} encoders" if len(self.pairs) < PAIRS_NEEDED else "one of the two never varies"
            return f"{question}: no rank correlation ({why}; {PAIRS_NEEDED} that differ are needed)"
        return f"{question}: Spearman {found.rho:+.2f} [{found.low:+.2f}, {found.high:+.2f}] (bootstrap, n = {found.n})"


def probes_by_weights(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of cheap protocols by the sha256 of their encoder."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.encoder.sha256 is not None and row.protocol not in (FINETUNED, EVALUATED):
            found[row.encoder.sha256].append(row)
    return found


def verdicts(
    task: Task,
    among: str,
    named: Sequence[tuple[str, Row]],
    probes: Mapping[str, Sequence[Row]],
    known: Mapping[str, FoundRun],
) -> list[Verdict]:
    """Return every signal that two or more of the `named` rows have, which are like for like.

    `probes` are rows of cheap protocols by their encoder's sha256, `known` are pretrainings as `origins` gives them.
    """
    by_signal: dict[Signal, list[SignalAndScore]] = defaultdict(list)
    for name, row in named:
        if row.protocol != FINETUNED:
            continue
        score = row.last(task.primary_metric)
        assert score is not None, "a row without its primary metric is left out before"
        for signal, value in {**_of_pretraining(row, known), **_of_probes(task, row, probes)}.items():
            by_signal[signal].append(SignalAndScore(name, value, score.mean, score.std))
    unit = task.metric(task.primary_metric).unit
    score_name = f"{task.primary_metric} ({unit})"
    return [Verdict(signal, score_name, among, tuple(pairs)) for signal, pairs in by_signal.items() if len(pairs) > 1]


def _of_pretraining(row: Row, known: Mapping[str, FoundRun]) -> dict[Signal, float]:
    """Return the metrics of the pretraining that made the row's encoder.

    A loss means the same only on the same images under the same masks and targets: its name has a mark of these.
    """
    if (parent := pretraining_of(row, known)) is None:
        return {}
    return {_signal(name, parent.record): value.last for name, value in parent.record.metrics.items()}


def _signal(name: str, record: RunRecord) -> Signal:
    if "loss" not in name:
        return Signal(name, f"{name} of pretraining")
    mark = digest_of(loss_scale(record))
    return Signal(name, f"{name} of pretraining (measured as {mark[:6]})")


def unlike_losses(pretrainings: Iterable[RunRecord]) -> list[str]:
    """Return in what pretrainings differ, so that their held-out losses are not on one scale; empty where they are."""
    return differing(loss_scale(record) for record in pretrainings if MASKED_LOSS in record.metrics)


def _of_probes(task: Task, row: Row, probes: Mapping[str, Sequence[Row]]) -> dict[Signal, float]:
    """Return the scores of the same weights by other protocols; several recipes of one protocol each count alone."""
    found = {}
    for other in probes.get(row.encoder.sha256 or "", ()):
        if score := other.last(task.primary_metric):
            mark = f"{other.recipe.name}, {other.conditions.recipe_digest[:8]}"
            words = f"{task.primary_metric} by {other.protocol} ({mark})"
            found[Signal(other.protocol, words)] = score.mean
    return found


def published() -> Iterator[Verdict]:
    """Yield, per model size, the held-out masked loss against fine-tuned accuracy of the published SwinV2 runs."""
    runs: dict[tuple[str, str, str], dict[str, Reference]] = defaultdict(dict)
    for each in load_references():
        if each.verified and each.variant:
            runs[each.source, each.backbone, each.variant][each.metric] = each
    sizes: dict[tuple[str, str], list[SignalAndScore]] = defaultdict(list)
    for (source, backbone, variant), numbers in runs.items():
        if {"masked_loss", "top1"} <= numbers.keys():
            loss, top1 = float(numbers["masked_loss"].value), float(numbers["top1"].value)
            sizes[source, backbone].append(SignalAndScore(variant, loss, top1))
    for (source, backbone), pairs in sizes.items():
        yield Verdict(
            Signal("masked_loss", "masked_loss"), "top1 (%)", f"{backbone}, published by {source}", tuple(pairs)
        )


class Conclusion(NamedTuple):
    """What choosing by the lowest held-out loss would have cost on the published runs."""

    runs: int
    correlation: Correlation | None
    """Over the runs of all sizes."""
    largest_regret: float
    """The most accuracy that the run of the lowest loss lacks to the best run of its size, in points."""
    turned: tuple[tuple[str, int], ...]
    """Groups of one size and data set in which a lower loss goes with lower accuracy, and their numbers of runs."""

    @property
    def words(self) -> str:
        found = self.correlation
        rank = "" if found is None else f"; over all {self.runs} runs Spearman {found.rho:+.2f}"
        turned = ", ".join(f"{name}, n = {count}" for name, count in self.turned)
        but = f" Among runs on the same data the sign can turn ({turned})." if turned else ""
        cost = f"costs at most {self.largest_regret:.2f} points of accuracy within a size"
        return f"Choosing the lowest held-out loss {cost}{rank}.{but}"


def conclusion() -> Conclusion:
    """Return what the published runs say of choosing by the held-out loss."""
    sizes = list(published())
    pairs = [pair for one in sizes for pair in one.pairs]
    regrets = [max(p.score for p in one.pairs) - min(one.pairs, key=lambda p: p.signal).score for one in sizes]
    groups: dict[str, list[SignalAndScore]] = defaultdict(list)
    for one in sizes:
        for pair in one.pairs:
            groups[f"{one.among.partition(',')[0]} {pair.name.partition(',')[0]}"].append(pair)
    turned = [(name, len(group)) for name, group in groups.items() if len(group) > 2 and _rises(group)]
    return Conclusion(len(pairs), _spearman(pairs), max(regrets), tuple(turned))


def _rises(pairs: Sequence[SignalAndScore]) -> bool:
    """Tell whether by rank the score rises with the signal."""
    from scipy.stats import spearmanr

    return bool(spearmanr([pair.signal for pair in pairs], [pair.score for pair in pairs]).statistic > 0)


def _spearman(pairs: Sequence[SignalAndScore]) -> Correlation | None:
    return spearman([pair.signal for pair in pairs], [pair.score for pair in pairs])
