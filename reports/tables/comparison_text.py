"""Two sides in words and numbers: as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len

from benchmarks.catalogue.tasks import TASKS
from benchmarks.text.tables import aligned
from reports.compare.by_class import ByClass, ClassGain, extremes
from reports.compare.by_image import Disagreement
from reports.compare.like_for_like import Change
from reports.compare.two_sides import Pairing, Score, SideBySide
from reports.leaderboard.lines import PROTOCOLS
from reports.leaderboard.notes import METHODS
from reports.leaderboard.section import labelled
from reports.tables.cells import delta_parts, fixed, join_delta, join_spread, p_value, spread_parts
from reports.text import WIDTH, broken, filled, isolated, one_line, within_width

MOST_CLASSES = 10
"""How many gains, and how many losses, the text shows at most; the JSON has every class."""


INDENT, GAP, NARROWEST = "    ", 2, 8
NOTES = (
    "The score is the last epoch's, as mean ± sample standard deviation over n seeds. p is that of the t-test behind "
    "the interval, two-sided.",
    *METHODS.values(),
    "McNemar's exact test asks, for one seed, whether the images that only one of the two gets right could be so "
    "divided by chance. It knows nothing of how another training would have come out.",
    "The classes with the largest differences are the ones that chance favoured most: look at the span over seeds.",
    "Folders, workers and devices are no difference between recipes. Where A and B are not comparable, every "
    "difference of scores is withheld.",
)


def to_text(both: SideBySide) -> str:
    """Return the comparison as text."""
    lines: list[str] = []
    for title, pairing in zip(titles_of(both.pairings), both.pairings, strict=True):
        lines += [*_pairing(title, pairing), ""]
    lines += [one_line(words) for words in both.alone]
    lines += [line for note in NOTES for line in filled(f"* {note}", "  ")]
    for side, collected in zip("AB", both.sides, strict=True):
        lines.append(f"{side}: {collected.account}")
        lines += [f"  left out: {one_line(f'{left.where}: {left.reason}')}" for left in collected.left_out]
    return within_width("\n".join(lines)).rstrip() + "\n"


def titles_of(pairings: Sequence[Pairing]) -> list[str]:
    """Return each pairing's task and, where others are of it, too, what tells them apart: protocol, recipe, digest."""
    rows = [pairing.ours for pairing in pairings]
    marks = [(PROTOCOLS.get(row.protocol, row.protocol), row.recipe.name, row.recipe.digest[:8]) for row in rows]
    words: list[tuple[str, ...]] = [(row.task,) for row in rows]
    for place in range(len(marks[0]) if marks else 0):
        sharing: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for own, mark in zip(words, marks, strict=True):
            sharing[own].add(mark[place])
        words = [(*own, mark[place]) if len(sharing[own]) > 1 else own for own, mark in zip(words, marks, strict=True)]
    return [labelled(task, " ".join(own)) if own else task for task, *own in words]


def _pairing(title: str, pairing: Pairing) -> Iterator[str]:
    ours, theirs = pairing.ours, pairing.theirs
    yield f"{one_line(title)}: A {one_line(ours.encoder.label)}, B {one_line(theirs.encoder.label)}"
    if pairing.unfair:
        yield "  not comparable:"
        yield from (f"    {one_line(why)}" for why in pairing.unfair)
    if pairing.mark:
        yield f"  {one_line(pairing.mark)}"
    yield from _indented([("score", "A", "B", "A - B, 95 % interval", "p"), *map(score_cells, pairing.scores)])
    for what, changed in diffs(pairing).items():
        yield from _changes(what, changed)
    yield from _classes(pairing.classes)
    yield from _images(pairing.images)


def metric_words(score: Score) -> str:
    """Return a metric's name, with a remark where lower is better."""
    metric = TASKS[score.ours.task].metric(score.metric)
    return metric.name if metric.higher_is_better else f"{metric.name}, lower is better"


def score_cells(score: Score) -> tuple[str, ...]:
    """Return metric, A's score, B's, their difference and p, as text."""
    both = [join_spread(*spread_parts(row.last(score.metric))) for row in (score.ours, score.theirs)]
    p = score.comparison.interval.p if score.comparison.interval else None
    return (metric_words(score), *both, join_delta(*delta_parts(score.comparison)), p_value(p) or "-")


def diffs(pairing: Pairing) -> dict[str, tuple[Change, ...] | None]:
    """Return what differs, by where; None where it is not at hand for both."""
    return {
        "transfer recipe": pairing.recipe,
        "encoder": pairing.encoder,
        "pretraining recipe": pairing.pretraining,
        "environment": pairing.environment,
    }


def _changes(what: str, changed: Sequence[Change] | None) -> Iterator[str]:
    if not changed:
        yield f"  {what}: {'not at hand for both' if changed is None else 'no difference'}"
        return
    yield f"  {what}:"
    rows = [(one.field, f"A {shown_value(one.ours)}", f"B {shown_value(one.theirs)}") for one in changed]
    yield from (f"  {line}" for line in _indented(rows))


def shown_value(value: object) -> str:
    """Return a field's value on one line."""
    return "(none)" if value is None else one_line(str(value))


def _images(found: tuple[Disagreement, ...] | str) -> Iterator[str]:
    if isinstance(found, str):
        yield f"  by image: {found}"
        return
    yield "  by image (McNemar's exact test):"
    yield from _indented([("", "only A right", "only B right", "p"), *map(disagreement_cells, found)])


def disagreement_cells(one: Disagreement) -> tuple[str, ...]:
    """Return seed, images that only A gets right, those that only B does, and p, as text."""
    return (one.draw.words, str(one.only_ours), str(one.only_theirs), p_value(one.p))


def _classes(found: ByClass | str) -> Iterator[str]:
    if isinstance(found, str):
        yield f"  by class: {found}"
        return
    yield f"  by class ({by_class_words(found)}):"
    shown = [class_cells(one) for one in extremes(found, MOST_CLASSES)]
    yield from _indented([("class", found.counted, "A", "B", "A - B", "by seed"), *shown])


def by_class_words(found: ByClass) -> str:
    """Return, in words, what the numbers of the classes are."""
    same = sum(one.gain == 0 for one in found.gains)
    words = f"{found.measure} in %, mean over seeds; {len(found.gains)} classes, {same} without a difference"
    return words + (f"; without a score: {', '.join(map(one_line, found.without))}" if found.without else "")


def class_cells(one: ClassGain) -> tuple[str, ...]:
    """Return name, size, A's score, B's, their difference, and its span over seeds, as text."""
    numbers = (fixed(one.ours, 2), fixed(one.theirs, 2), fixed(one.gain, 2, "+"))
    spanned = f"{fixed(min(one.by_seed), 2, '+')} to {fixed(max(one.by_seed), 2, '+')}"
    return (one_line(one.name), str(one.size), *numbers, spanned if len(one.by_seed) > 1 else "-")


def _indented(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows as columns that fit beside one another: the widest are made narrower, and their texts broken."""
    sizes = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    while sum(sizes) + GAP * (len(sizes) - 1) > WIDTH - len(INDENT) and max(sizes) > NARROWEST:
        sizes[sizes.index(max(sizes))] -= 1
    lines = [tuple(map(isolated, line)) for row in rows for line in zip_longest(*map(broken, row, sizes), fillvalue="")]
    return [f"{INDENT}{line}" for line in aligned(lines, gap=GAP, widths=sizes).splitlines()]


def to_json(both: SideBySide) -> str:
    """Return the comparison with every class and every difference."""
    document = {
        "schema_version": 1,
        "pairings": [_document(*each) for each in zip(titles_of(both.pairings), both.pairings, strict=True)],
        "alone": list(both.alone),
        "notes": list(NOTES),
        "accounts": {side: collected.account for side, collected in zip("AB", both.sides, strict=True)},
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _document(title: str, pairing: Pairing) -> dict[str, object]:
    parts = {"recipe": pairing.recipe, "encoder": pairing.encoder, "pretraining": pairing.pretraining}
    fields = ("class", "size", "a", "b", "gain", "by_seed")
    gains = () if isinstance(pairing.classes, str) else pairing.classes.gains
    return {
        "task": pairing.ours.task,
        "title": title,
        "a": pairing.ours.encoder.label,
        "b": pairing.theirs.encoder.label,
        "not_comparable": list(pairing.unfair),
        "mark": pairing.mark,
        "scores": [
            dict(zip(("metric", "a", "b", "difference", "p"), score_cells(score), strict=True))
            for score in pairing.scores
        ],
        "differences": {
            name: None if changed is None else [one._asdict() for one in changed] for name, changed in parts.items()
        },
        "classes": [dict(zip(fields, class_cells(one), strict=True)) for one in gains],
    }
