"""Two sides in words and numbers: as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from benchmarks.tables import aligned
from reports.cells import fixed, join_spread, spread_parts
from reports.compare import Change
from reports.notes import account
from reports.predictions import ClassGain, OnImages
from reports.sidebyside import Pairing, Score, SideBySide
from reports.text import one_line

MOST_CLASSES = 10
"""Gains, and as many losses, in the text; the JSON has every class."""


def to_text(both: SideBySide) -> str:
    """Return the comparison as text."""
    lines: list[str] = []
    for pairing in both.pairings:
        lines += [*_pairing(pairing), ""]
    lines += [one_line(words) for words in both.alone]
    for side, collected in zip("AB", both.sides, strict=True):
        lines.append(f"{side}: {account(collected)}")
        lines += [f"  left out: {one_line(f'{left.where}: {left.reason}')}" for left in collected.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _pairing(pairing: Pairing) -> Iterator[str]:
    ours, theirs = pairing.ours, pairing.theirs
    yield f"{ours.task}: A {one_line(ours.encoder.label)}, B {one_line(theirs.encoder.label)}"
    if pairing.unfair:
        yield "  not comparable:"
        yield from (f"    {one_line(why)}" for why in pairing.unfair)
    yield from _indented([("score", "A", "B", "A - B, 95 % interval", "p"), *map(_score, pairing.scores)])
    yield from _changes("transfer recipe", pairing.recipe)
    yield from _changes("encoder", pairing.encoder)
    if pairing.pretraining is not None:
        yield from _changes("pretraining recipe", pairing.pretraining)
    yield from _changes("environment", pairing.environment)
    yield from _images(pairing.images)


def _score(score: Score) -> tuple[str, ...]:
    both = [join_spread(*spread_parts(row.last(score.metric))) for row in (score.ours, score.theirs)]
    return (score.metric, *both, _delta(score), "-" if score.p is None else _p(score.p))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else fixed(value, 3)


def _delta(score: Score) -> str:
    found = score.comparison
    if found.delta is None:
        return found.note
    interval = f" [{fixed(found.interval.low, 2, '+')}, {fixed(found.interval.high, 2, '+')}]" if found.interval else ""
    note = f", {found.note}" if found.note else ""
    return f"{fixed(found.delta, 2, '+')}{interval}{note}"


def _changes(what: str, changed: Sequence[Change]) -> Iterator[str]:
    if not changed:
        yield f"  {what}: no difference"
        return
    yield f"  {what}:"
    rows = [(one.field, f"A {_value(one.ours)}", f"B {_value(one.theirs)}") for one in changed]
    yield from (f"  {line}" for line in _indented(rows))


def _value(value: object) -> str:
    return "(none)" if value is None else one_line(str(value))


def _images(found: OnImages | str) -> Iterator[str]:
    if isinstance(found, str):
        yield f"  by image: {found}"
        return
    rows = [(f"seed {one.seed}", str(one.only_ours), str(one.only_theirs), _p(one.p)) for one in found.disagreements]
    yield "  by image (McNemar's exact test):"
    yield from _indented([("", "only A right", "only B right", "p"), *rows])
    gains = [one for one in found.classes if one.gain > 0][:MOST_CLASSES]
    losses = [one for one in reversed(found.classes) if one.gain < 0][:MOST_CLASSES]
    same = sum(one.gain == 0 for one in found.classes)
    yield f"  by class ({len(found.classes)} in all, {same} without a difference; accuracy in %, mean over seeds):"
    yield from _indented([("class", "images", "A", "B", "A - B"), *map(_class, [*gains, *reversed(losses)])])


def _class(one: ClassGain) -> tuple[str, ...]:
    return (one_line(one.name), str(one.images), fixed(one.ours, 2), fixed(one.theirs, 2), fixed(one.gain, 2, "+"))


def _indented(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"    {line}" for line in aligned(rows).splitlines()]


def to_json(both: SideBySide) -> str:
    """Return the comparison with every class and every difference."""
    document = {
        "schema_version": 1,
        "pairings": [_document(pairing) for pairing in both.pairings],
        "alone": list(both.alone),
        "accounts": {side: account(collected) for side, collected in zip("AB", both.sides, strict=True)},
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _document(pairing: Pairing) -> dict[str, object]:
    parts = {"recipe": pairing.recipe, "encoder": pairing.encoder, "pretraining": pairing.pretraining}
    images = pairing.images
    classes = (
        []
        if isinstance(images, str)
        else [dict(zip(("class", "images", "a", "b", "gain"), _class(one), strict=True)) for one in images.classes]
    )
    return {
        "task": pairing.ours.task,
        "a": pairing.ours.encoder.label,
        "b": pairing.theirs.encoder.label,
        "not_comparable": list(pairing.unfair),
        "scores": [
            dict(zip(("metric", "a", "b", "difference", "p"), _score(score), strict=True)) for score in pairing.scores
        ],
        "differences": {
            name: None if changed is None else [one._asdict() for one in changed] for name, changed in parts.items()
        },
        "classes": classes,
    }
