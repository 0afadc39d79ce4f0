"""What a leaderboard says in words: where every record went, what was compared, and how to read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.compare.score_difference import EXACT_LIMIT, RESAMPLES, RNG_SEED
from reports.leaderboard.board import Leaderboard, Section
from reports.text import count


@dataclass(frozen=True)
class Words:
    """The sentences around the tables."""

    summary: str
    account: str
    notes: tuple[str, ...]


def words(board: Leaderboard) -> Words:
    """Return the sentences that go with a leaderboard."""
    baseline = board.request.baseline
    return Words(_summary(board.sections, baseline), board.collected.account, tuple(_notes(board.sections, baseline)))


def _summary(sections: Sequence[Section], baseline: str | None) -> str:
    if not sections:
        return "No run could be compared."
    parts = []
    for section in sections:
        runs = [len(entry.row.runs) for entry in section.entries]
        each = str(min(runs)) if min(runs) == max(runs) else f"{min(runs)} to {max(runs)}"
        seeds = "1 seed" if each == "1" else f"{each} seeds"
        parts.append(f"{count(len(runs), 'row')} on {section.task.name} over {seeds} each")
    against = f", against {baseline} wherever the comparison is like for like" if baseline is not None else ""
    return "; ".join(parts) + against + "."


def _notes(sections: Sequence[Section], baseline: str | None) -> list[str]:
    """Return the footnotes on method that this table needs."""
    if not sections:
        return []
    notes = [
        "The score is the last epoch's, as mean ± sample standard deviation (n - 1) over n seeds; n = 1 has none. "
        "The best epoch stands beside it: it is chosen on the evaluation data and therefore flatters. What was "
        "measured once, at the end of a training or without one, has no best epoch.",
        "Rows in one group share task version, recipe, image size and data; rows of different groups are not "
        "comparable. Time counts all attempts, set-up included; time and speed are means over the runs.",
        f"{TRANSFER_PROOF} Loaded is the share of the encoder's parameters that came from the checkpoint.",
    ]
    if any(entry.same_setting for section in sections for entry in section.entries):
        notes.append(SAME_SETTING)
    if any(record.choice for section in sections for one in section.entries for record in one.row.records):
        notes.append(CHOSEN)
    if any(entry.row.trained_elsewhere for section in sections for entry in section.entries):
        notes.append(TRAINED_ELSEWHERE)
    if any(section.published for section in sections):
        notes.append(QUOTED)
    if any(record.flops_per_image for section in sections for one in section.entries for record in one.row.records):
        notes.append(FLOPS)
    if any(section.budgeted for section in sections):
        notes.append(BUDGET)
    if any(entry.other_data for section in sections for entry in section.entries):
        notes.append(OTHER_DATA)
    if baseline is None:
        labels = sorted({entry.row.encoder.label for section in sections for entry in section.entries})
        return [*notes, f"No deltas: name a baseline with --baseline LABEL (here: {', '.join(labels)})."]
    return [*notes, *_interval_notes(sections)]


TRANSFER_PROOF = "A run whose load report is absent or incomplete is left out, never scored; random weights need none."
FLOPS = (
    "FLOPs are those of one forward pass of what was trained, head included, on one image or clip; a multiplication "
    "and an addition are two."
)
BUDGET = (
    "Epochs x images names every training behind a score, the row's own last; images seen in all is their sum, and is "
    "left out where one is not known. What others trained is counted by what they published."
)
OTHER_DATA = (
    "A row marked with other pretraining data saw images that the baseline did not see, or the reverse: its difference "
    "is that of method and data together."
)
CHOSEN = (
    "The score of a probe's grid is that of one classifier, chosen on training images that were held out from all. No "
    "other classifier was run on the test set."
)
SAME_SETTING = (
    "Published is what a source reports for the row's own setting: the same backbone, masks, head, target, length and "
    "number of images of the pretraining, and the same image size; it is in no mean and no difference."
)
TRAINED_ELSEWHERE = (
    "Rows whose recipe's protocol is evaluate were trained elsewhere and only scored here, with their own head and "
    "their own preprocessing; they are in no difference, since no record holds the recipe that trained them."
)
QUOTED = (
    "Reported rows were published by others, on the backbones of this table, with the digits of their source; they "
    "are in no mean and no difference, since neither their data nor their evaluation is known here to be the same."
)


def _interval_notes(sections: Sequence[Section]) -> list[str]:
    found = [entry.comparison for section in sections for entry in section.entries]
    intervals = [comparison.interval for comparison in found if comparison.interval is not None]
    notes = ["Differences are taken before rounding."] if any(one.delta is not None for one in found) else []
    exact = sorted({interval.resamples for interval in intervals if interval.exact})
    if exact:
        sizes = " or ".join(f"{number:,}" for number in exact)
        notes.append(
            f"The 95 % interval is a percentile bootstrap of the differences paired by seed: all {sizes} resamples "
            f"were enumerated, as is done up to {EXACT_LIMIT:,}."
        )
    if any(not interval.exact for interval in intervals):
        notes.append(
            f"For more than 6 seeds the 95 % percentile bootstrap of the paired differences draws {RESAMPLES:,} "
            f"resamples (random seed {RNG_SEED})."
        )
    if 27 in exact:
        notes.append(
            "With 3 seeds the interval is rough: it is the range of the three differences, which holds the true "
            "median difference in 75 % of cases, not in 95 %."
        )
    return notes
