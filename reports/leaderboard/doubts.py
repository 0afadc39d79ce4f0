"""What stands in the way of a plain reading: of one row, as marks on it, and of several together, as notes."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.config import without_fields
from benchmarks.encoders import MANIFEST
from benchmarks.errors import UserError
from benchmarks.files.json_files import read_json
from benchmarks.runs.environment import found_again
from benchmarks.runs.find import FoundRun
from benchmarks.runs.folder import RunFolder, run_folder_of
from benchmarks.runs.record import RunRecord
from reports.compare.like_for_like import changes
from reports.leaderboard.lines import Measured
from reports.records.rows import Row, TransferRun
from reports.text import count

Made = Mapping[str, tuple[str, ...]]
"""What runs were made by: all values of commit, Python, device and each package."""
MUCH_LONGER = 2.0
"""From this ratio of images seen, or of epochs, on a note names how much longer an encoder was trained."""
SCHEMES = ("timm", "hf-hub", "random", "python")
"""What references begin with that are no paths: nothing of theirs is at hand."""
STAGES = {"scratch": "random", "random": "random", "supervised": "supervised"}
"""Labels that say how far an encoder was trained."""


def marks_of(rows: Sequence[Row], baselines: Sequence[Row], known: Mapping[str, FoundRun]) -> dict[int, list[str]]:
    """Return the marks of each row of a group, by its `id()`; `known` are completed runs as `origins` gives them."""
    first = next((row for row in rows if row in baselines), None)
    name = "most rows" if first is None else "baseline"
    usual = _made(first.records) if first is not None else _most_common([_made(row.records) for row in rows])
    tested = _tested_on(first) if first is not None else _most_common_test_images(rows)
    left = _by_trace(rows)
    return {
        id(row): [
            *_skipped(row),
            *_without_chance(row),
            *_made_otherwise(row, usual, name),
            *_tested_otherwise(row, tested, name),
            *_not_recounted(row, rows if first is None else (first,), name),
            *_of_another_recipe(row, rows),
            *_unknown(row, known),
            *_odd(row),
            *_repeated(row, left),
        ]
        for row in rows
    }


def _odd(row: Row) -> Iterator[str]:
    """Yield what is odd in the files of the row's runs, each with the runs that have it."""
    whose: dict[str, list[str]] = defaultdict(list)
    for run in row.runs:
        for mark in run.traces.marks:
            whose[mark].append(row.draw(run).words)
    yield from (f"{mark} ({', '.join(runs)})" for mark, runs in whose.items())


def _by_trace(rows: Sequence[Row]) -> dict[str, list[tuple[Row, TransferRun]]]:
    """Return the runs that left each trace, where several did: one run under two names counts once."""
    found: dict[str, list[tuple[Row, TransferRun]]] = defaultdict(list)
    for row in rows:
        for run in row.runs:
            for trace in run.traces.own:
                found[trace].append((row, run))
    return {
        trace: runs
        for trace, runs in found.items()
        if len(runs) > 1 and len({run.record.run_id for _, run in runs}) > 1
    }


def _repeated(row: Row, left: Mapping[str, Sequence[tuple[Row, TransferRun]]]) -> Iterator[str]:
    """Yield where runs of the row have what only one training can have left: they are copies under another seed."""
    for run in row.runs:
        for trace in run.traces.own:
            others = [pair for pair in left.get(trace, ()) if pair[1].record.run_id != run.record.run_id]
            if others:
                other, its = others[0]
                whose = "" if other is row else f"{other.encoder.label}, "
                yield f"{row.draw(run).words} has the same {trace.split()[0]} as {whose}{other.draw(its).words}"


def _tested_on(row: Row) -> set[str]:
    return {run.tested_on for run in row.runs if run.tested_on}


def _most_common_test_images(rows: Sequence[Row]) -> set[str]:
    counted = Counter(each for row in rows for each in _tested_on(row))
    return {each for each, _ in counted.most_common(1)}


def _tested_otherwise(row: Row, usual: Collection[str], name: str) -> Iterator[str]:
    """Yield where predictions are of other images, or of other labels, than those of rows on the same data."""
    mine = _tested_on(row)
    if usual and not mine <= set(usual):
        yield f"predictions of other test images: {', '.join(sorted(mine))}, {name} {', '.join(sorted(usual))}"


def _not_recounted(row: Row, others: Sequence[Row], name: str) -> Iterator[str]:
    """Yield which runs lack the tables that give a score again, where the baseline or most rows have them."""
    whole = sum(all(run.recounted for run in other.runs) for other in others)
    lacking = [row.draw(run).words for run in row.runs if not run.recounted]
    if lacking and 2 * whole > len(others):
        verb = "has" if name == "baseline" else "have"
        yield f"no table gives its score again, as {name} {verb} ({', '.join(lacking)})"


def _of_another_recipe(row: Row, rows: Sequence[Row]) -> Iterator[str]:
    """Yield the fields in which a recipe is not that of its digest, where it does not say what the digest is of."""
    whole = next((other.recipe for other in rows if other.recipe.beside_digest is not None), None)
    if whole is None or all(run.record.recipe.beside_digest is not None for run in row.runs):
        return
    beside = {*(whole.beside_digest or ()), *whole.placement}
    theirs = without_fields(whole.resolved, beside)
    for run in row.runs:
        mine = without_fields(run.record.recipe.resolved, {*beside, *run.record.recipe.placement})
        if other := [change.field for change in changes(mine, theirs)]:
            yield f"its recipe is not that of its digest: {', '.join(other)} ({row.draw(run).words})"


def _skipped(row: Row) -> Iterator[str]:
    if skipped := sum(len(record.skipped_steps) for record in row.records):
        yield f"{skipped:,} of {count(sum(record.steps for record in row.records), 'step')} skipped"


def _without_chance(row: Row) -> Iterator[str]:
    """Yield where runs that train nothing have the same scores: a deviation of 0 says nothing of another encoder."""
    scores = {tuple(sorted((name, value.last) for name, value in record.metrics.items())) for record in row.records}
    trained = any("training" in record.recipe.resolved for record in row.records)
    if len(row.runs) > 1 and len(scores) == 1 and not trained:
        yield f"the same scores in all {len(row.runs)} runs: the seed changes nothing, so they count as one"


def _made(records: Sequence[RunRecord]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        environment = record.environment
        device = "cpu" if environment.device.startswith("cpu") else environment.device
        own = {"commit": environment.git_commit or "unknown", "Python": environment.python, "device": device}
        for what, value in {**own, **environment.packages}.items():
            found[what][value] = None
    return {what: tuple(sorted(values)) for what, values in found.items()}


def _most_common(found: Sequence[Made]) -> Made:
    return dict(Counter(tuple(sorted(made.items())) for made in found).most_common(1)[0][0])


def _made_otherwise(row: Row, usual: Made, name: str) -> Iterator[str]:
    made = _made(row.records)
    for what in dict.fromkeys([*made, *usual]):
        mine, other = made.get(what, ("none",)), usual.get(what, ("none",))
        if not set(mine) <= set(other):
            yield f"other {what}: {', '.join(mine)}, {name} {', '.join(other)}"
    yield from (f"{what} differs between its runs: {', '.join(all_)}" for what, all_ in made.items() if len(all_) > 1)


def _unknown(row: Row, known: Mapping[str, FoundRun]) -> Iterator[str]:
    """Yield a mark where weights that a run started from are neither in a run nor in a file that is at hand."""
    for sha256 in dict.fromkeys(run.encoder.sha256 for run in row.runs):
        of_it = [run for run in row.runs if run.encoder.sha256 == sha256]
        if sha256 is None and of_it[0].encoder.init_stage != "random" and not _has_scheme(of_it[0], "python"):
            yield "no digest of its encoder's weights is on record"
        if sha256 is None or sha256 in known or _has_scheme(of_it[0], *SCHEMES):
            continue
        parents = [known[name].folder for name in of_it[0].record.parents if name in known]
        reference = found_again(of_it[0].folder, of_it[0].record, of_it[0].encoder.reference)
        if not _is_file(reference) and sha256 not in _exported(parents, reference):
            yield f"no run and no file at hand has its encoder {sha256[:12]}"


def _has_scheme(run: TransferRun, *schemes: str) -> bool:
    return run.encoder.reference.partition(":")[0] in schemes


def _is_file(reference: str) -> bool:
    """Tell a file of weights, or a folder that another library saved, from an announcement, from what we exported
    ourselves and from what can be no path."""
    with contextlib.suppress(OSError, ValueError):
        path = Path(reference)
        others = (path / "config.json").is_file() and not (path / MANIFEST).exists()
        return others or (path.is_file() and not reference.endswith(".json"))
    return False


def _exported(parents: Sequence[Path], reference: str) -> set[str]:
    """Return the sha256 of all encoders that lie in some runs and in what a reference names."""
    places = [*parents]
    with contextlib.suppress(OSError, ValueError, UserError):
        places.append(run_folder_of(Path(reference)))
    found: set[str] = set()
    for place in places:
        run = RunFolder(place)
        with contextlib.suppress(OSError, ValueError):  # what can be no path
            beside = [folder / MANIFEST for folder in (place, run.encoder, *run.encoders.glob("epoch_*"))]
            found |= {sha256 for manifest in beside if (sha256 := _sha256_in(manifest)) is not None}
    return found


def _sha256_in(manifest: Path) -> str | None:
    try:
        return str(read_json(manifest)["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def notes_on(entries: Sequence[Measured], baseline: str | None) -> Iterator[str]:
    """Yield what is odd about several rows of a task together: their labels, and how long they were trained."""
    yield from _alike(entries)
    yield from _misnamed(entries)
    if baseline is not None:
        yield from _trained_longer(entries, baseline)


CYRILLIC, GREEK = (
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0432\u043a\u043c\u043d\u0442\u0501\u04bb\u04cf",
    "\u03bf\u03b1\u03c1\u03bd\u03b9\u03ba\u03b2\u03b5\u03b6\u03b7\u03bc\u03c4\u03c5\u03c7",
)
LATIN, DASHES = "\u0131\u0251\u0261\u0269", "\u2010\u2011\u2012\u2013\u2014\u2212"
LOOK_ALIKE = str.maketrans(
    f"{CYRILLIC}{GREEK}{LATIN}{DASHES}",
    f"{'aeopcyxijsbkmhtdhl'}{'oapvikbezhmtyx'}{'iagi'}{'-' * len(DASHES)}",
)
"""Letters of other scripts, small or as capitals, and dashes, by what they are taken for."""
BLANK = re.compile("[\u0300-\u036f\u115f\u1160\u17b4\u17b5\u2800\ufe00-\ufe0f]")
"""What has no width and is no format character, accents included, or is blank and no space."""


def _plain(label: str) -> str:
    """Return what a reader sees of a label: no case, nothing invisible, and look-alikes as what they resemble."""
    text = unicodedata.normalize("NFKD", label).casefold()
    seen = "".join(char for char in BLANK.sub("", text) if unicodedata.category(char) != "Cf")
    return " ".join(seen.translate(LOOK_ALIKE).split())


def _alike(entries: Sequence[Measured]) -> Iterator[str]:
    labels: dict[str, dict[str, None]] = defaultdict(dict)
    for entry in entries:
        labels[_plain(entry.row.encoder.label)][entry.row.encoder.label] = None
    for same in labels.values():
        if len(same) > 1:
            named = ", ".join(f"“{one}”" for one in same)
            yield f"Labels that differ only in case, spaces or characters that look alike: {named}."


def _misnamed(entries: Sequence[Measured]) -> Iterator[str]:
    """Yield where a label is the name of a stage or of another row's method, which its encoder is not."""
    methods = {_plain(entry.row.encoder.method) for entry in entries}
    for label, encoder in {(e.row.encoder.label, _plain(e.row.encoder.method)): e.row.encoder for e in entries}.items():
        called = _plain(label[0])
        own = (_plain(encoder.method), encoder.init_stage)
        if (STAGES.get(called, called) not in own) and called not in own and called in {*methods, *STAGES}:
            yield f"The encoder that is labelled {encoder.label} is of method {encoder.method} ({encoder.init_stage})."


def _trained_longer(entries: Sequence[Measured], baseline: str) -> Iterator[str]:
    """Yield where an encoder was trained much longer before this task than the baseline's, or much shorter."""
    lengths = {entry.row.encoder.label: _length(entry) for entry in entries}
    own = lengths.get(baseline)
    for label, length in lengths.items():
        if own is None or length is None or not min(own[0], length[0]) or own[1] != length[1]:
            continue
        if max(own[0], length[0]) >= MUCH_LONGER * min(own[0], length[0]):
            yield f"Before this task {label} had {length[0]:,.0f} {length[1]}, the baseline {baseline} {own[0]:,.0f}."


def _length(entry: Measured) -> tuple[float, str] | None:
    """Return how long an encoder was trained before, in images seen or, where that is not known, in epochs."""
    seen = [stage.images_seen for stage in entry.budget.before] if entry.budget is not None else []
    known = [images for images in seen if images is not None]
    if known and len(known) == len(seen):
        return sum(known), "images to learn from (epochs x images)"
    epochs = entry.row.encoder.epochs
    return None if epochs is None else (float(epochs), "epochs of training")
