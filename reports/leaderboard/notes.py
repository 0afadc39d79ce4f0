"""What a leaderboard says in words: where every record went, what was compared, and how to read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.catalogue.suite_tasks import SUITE_TASKS
from reports.compare.early_verdict import unlike_losses
from reports.compare.score_difference import PAIRS_NEEDED, SEEDS_NEEDED
from reports.compare.student import LEVEL
from reports.leaderboard.board import Leaderboard
from reports.leaderboard.doubts import notes_on
from reports.leaderboard.section import Section
from reports.records.collect import PRUNED
from reports.records.collections import descriptions
from reports.text import count


@dataclass(frozen=True)
class Words:
    """The sentences around the tables."""

    summary: str
    account: str
    notes: tuple[str, ...]


@lru_cache(maxsize=1)
def words(board: Leaderboard) -> Words:
    """Return the sentences that go with a leaderboard."""
    summary = _summary(board.sections, board.request.baseline)
    notes = (*_notes(board), *doubts_of_losses(board))
    return Words(summary, board.collected.account, tuple(filter(None, notes)))


def doubts_of_losses(board: Leaderboard) -> Iterator[str]:
    """Yield why the held-out losses of this table's pretrainings cannot be trusted to rank its encoders."""
    found = (one.pretraining for section in board.sections for one in section.entries)
    if names := unlike_losses(record for record in found if record is not None):
        yield UNLIKE_LOSSES.format(", ".join(names))
    if any(left.kind == PRUNED for left in board.left_out):
        yield RUNGS


def _summary(sections: Sequence[Section], baseline: str | None) -> str:
    if not sections:
        return "No run could be compared."
    parts = []
    for section in sections:
        runs = [len(entry.row.runs) for entry in section.entries]
        each = str(min(runs)) if min(runs) == max(runs) else f"{min(runs)} to {max(runs)}"
        seeds = "1 seed" if each == "1" else f"{each} seeds"
        parts.append(f"{count(len(runs), 'row')} on {section.title} over {seeds} each")
    against = f", against {baseline} wherever the comparison is like for like" if baseline is not None else ""
    return "; ".join(parts) + against + "."


def _notes(board: Leaderboard) -> list[str]:
    """Return the footnotes on method that this table needs."""
    sections, baseline = board.sections, board.request.baseline
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
    notes += _on_contents(sections)
    if any(section.task.name in SUITE_TASKS for section in sections):
        notes.append(SUITES)
    notes += [each.words for each in board.incomplete]
    if board.request.collections:
        notes += [*descriptions(board.collected, board.request.runs, board.request.collections), COLLECTIONS]
    notes += _not_shown(board)
    for section in sections:
        notes += [f"{section.title}: {words}" for words in notes_on(section.entries, baseline)]
    entries = [entry for section in sections for entry in section.entries]
    if baseline is None:
        labels = sorted({entry.row.encoder.label for entry in entries})
        return [*notes, f"No deltas: name a baseline with --baseline LABEL (here: {', '.join(labels)})."]
    return [*notes, *_interval_notes(sections), *(_many(section, board.request.holm) for section in sections)]


def _on_contents(sections: Sequence[Section]) -> Iterator[str]:
    """Yield the notes on what only some tables hold."""
    entries = [entry for section in sections for entry in section.entries]
    records = [record for entry in entries for record in entry.row.records]
    needed = {
        SAME_SETTING: any(entry.same_setting for entry in entries),
        CHOSEN: any(record.choice for record in records),
        TRAINED_ELSEWHERE: any(entry.row.trained_elsewhere for entry in entries),
        QUOTED: any(section.published for section in sections),
        FLOPS: any(record.flops_per_image for record in records),
        BUDGET: any(section.budgeted for section in sections),
        OWN_RECIPES: any(entry.comparison.mark for entry in entries),
        SAW_TEST_IMAGES: any(entry.test_images_seen for entry in entries),
        OTHER_DATA: any(entry.other_data for entry in entries),
    }
    yield from (words for words, is_needed in needed.items() if is_needed)


def _not_shown(board: Leaderboard) -> Iterator[str]:
    """Yield which numbers of a person's own files of references stand in no table, and why."""
    shown = {each for section in board.sections for one in section.published for each in one.references}
    missing = [each for each in board.own_references if each not in shown]
    tasks = {section.task.name for section in board.sections}
    unread = [each for each in missing if not each.verified and not board.request.unverified]
    elsewhere = sorted({each.task for each in missing if each not in unread and each.task not in tasks})
    others = [each for each in missing if each not in unread and each.task in tasks]
    files = ", ".join(board.request.reference_files)
    if unread:
        yield f"{count(len(unread), 'number')} of {files} not shown, as verified is false: --unverified shows them."
    if elsewhere:
        yield f"Numbers of {files} on {', '.join(elsewhere)} are not shown: no run was measured there."
    if others:
        yield f"{count(len(others), 'number')} of {files} not shown: of pretrainings, which these tables are not of."


COLLECTIONS = (
    "A row is of one collection: runs of different people are never seeds of one row, though both made the run of one "
    "id. A copy that several collections hold counts once; of one run that they hold with different contents, none "
    "is believed. A row is compared with its own collection's baseline, or, marked, with another's."
)
SUITES = (
    "A suite's row is the mean over its data sets of one encoder's scores by one recipe, each data set by its own "
    "score, for the seeds that all of them have; its time is that of all runs, run and command are those of the first."
)
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
OWN_RECIPES = (
    "A difference between groups, marked with another recipe, is that of two whole ways to a model: random weights "
    "trained from scratch by a recipe for them, and a pretrained encoder fine-tuned by a recipe for it, on the same "
    "data and measured alike. Neither recipe suits the other's start; the lengths are in the mark."
)
SAW_TEST_IMAGES = (
    "A pretraining that saw test images trained on files with the bytes of test images: without their labels, but a "
    "score on images that were never seen may be lower. The share is that in a sample of the test images."
)
UNLIKE_LOSSES = (
    "Held-out losses of these pretrainings are not all on one scale, so that a lower one need not be better: they "
    "differ in {}. Early verdicts are given for each scale by itself."
)
RUNGS = (
    "Pretrainings that a rung pruned have no score: of a sweep with rungs, those with the lowest held-out losses went "
    "on. How well that loss ranks encoders cannot be seen from those alone that it chose."
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


METHODS = {
    "paired": (
        "A 95 % interval by a paired t is Student's, of the differences seed by seed (n - 1 degrees of freedom), where "
        f"{PAIRS_NEEDED} or more seeds are in common. It holds the true difference in 95 % of cases for every n, if "
        "differences are normal."
    ),
    "Welch": (
        f"A 95 % interval by Welch's t is of seeds that do not pair, {SEEDS_NEEDED} or more on each side. It holds the "
        "true difference in 93 to 97 % of cases."
    ),
    "seeds": (
        "An interval over seeds alone covers the chance in training for the task from this one encoder, not that of "
        "pretraining it again."
    ),
    "pretrainings": (
        "Where n counts pretrainings, each one's mean over its seeds is one value: the interval covers the chance in "
        "pretraining and in training for the task, and its degrees of freedom are those of the pretrainings."
    ),
}
"""How intervals are computed and what they cover, by the method."""


def _interval_notes(sections: Sequence[Section]) -> list[str]:
    found = [entry.comparison for section in sections for entry in section.entries]
    methods = {one.interval.method for one in found if one.interval is not None}
    kinds = {"seeds" if "pretrainings" not in method else "pretrainings" for method in methods}
    kinds |= {"Welch" if method.startswith("Welch") else "paired" for method in methods}
    notes = ["Differences are taken before rounding."] if any(one.delta is not None for one in found) else []
    return notes + [words for name, words in METHODS.items() if name in kinds]


MANY = 3
"""From so many differences to one baseline on, a note says that one of them may well be chance."""


def _many(section: Section, holm: bool) -> str:
    """Return a note where many encoders of a task are compared with one baseline; empty where not."""
    tested = sum(
        one.comparison.interval is not None and one.comparison.interval.p is not None for one in section.entries
    )
    if holm:
        return f"{section.title}: p is corrected by Holm for the {count(tested, 'difference')} of its table."
    if tested < MANY:
        return ""
    by_chance = 100 * (1 - LEVEL**tested)
    return (
        f"{section.title}: {tested} encoders are compared with one baseline, each interval by itself. Were none of "
        f"them different, up to {by_chance:.0f} % of such tables would have an interval without 0: see --holm."
    )
