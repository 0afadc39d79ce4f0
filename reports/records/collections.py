"""Several collections of runs, each of other people: how they are named, read, and described in a sentence."""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.runs.find import Findings, find_runs
from reports.records.collect import Collected
from reports.text import count


def named(given: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the places of collections given as `NAME=RUNS` or `RUNS`, and the name of each place's collection.

    Without a name it is the last part of the path or, where several end alike, the whole. Places of one given name are
    one collection. Raises UserError for an empty name, and for a place that is another one or lies in it: nobody could
    say whose its runs are.
    """
    pairs = [_pair(text) for text in given]
    _require_apart([place for _, place in pairs])
    ends = Counter(Path(place).name for name, place in pairs if not name)
    taken = {name for name, _ in pairs}
    places = tuple(place for _, place in pairs)
    return places, tuple(name or _own_name(place, ends, taken) for name, place in pairs)


def _pair(text: str) -> tuple[str, str]:
    """Return the name, empty where none is given, and the place. Raises UserError where a side of `=` is empty."""
    if "=" not in text or os.path.exists(text):  # which never raises, whatever the text
        return "", text
    name, _, place = text.partition("=")
    if not (name and place):
        raise UserError.about("--in", text, "RUNS, or NAME=RUNS", "for example --in lab_a=/data/a/runs")
    return name, place


def _require_apart(places: Sequence[str]) -> None:
    real = [_real(place) for place in places]
    for (one, its), (other, theirs) in itertools.permutations(zip(places, real, strict=True), 2):
        if its.is_relative_to(theirs):
            which = "another than" if its == theirs else "not inside"
            raise UserError.about("--in", one, f"a place {which} {other}", "give each place once")


def _real(place: str) -> Path:
    try:
        return Path(os.path.realpath(place))
    except (OSError, ValueError):  # what can be no path
        return Path(place)


def _own_name(place: str, ends: Counter[str], taken: set[str]) -> str:
    end = Path(place).name
    return end if end and ends[end] == 1 and end not in taken else place


def find_collections(places: Sequence[str], names: Sequence[str]) -> Findings:
    """Return every record that `places` lead to, with the name of its collection; without `names` there is only one.

    Raises UserError for a place that leads nowhere, and for another number of places than names.
    """
    if not names:
        return find_runs(places)
    if len(places) != len(names):
        rule = f"as many places as there are in collections: {len(names)}"
        raise UserError.about("--runs", f"{len(places)} places", rule, f"name them in this order: {', '.join(names)}")
    everything = Findings()
    for place, name in zip(places, names, strict=True):
        found = find_runs([place])
        everything.runs += [replace(run, collection=name) for run in found.runs]
        everything.left_out += found.left_out
    return everything


def descriptions(collected: Collected, places: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence on each collection: how many runs it has in the tables, and by whom they are signed.

    One of several places names them: two people may have been given one name by mistake.
    """
    lying = defaultdict[str, list[str]](list)
    for place, name in zip(places, names, strict=True):
        lying[name].append(place)
    for name, where in lying.items():
        rows = [row for row in collected.rows if row.first.collection == name]
        folders = [run.folder for row in rows for run in row.runs]
        parts = [f"{count(len(folders), 'transfer run')} in {count(len(rows), 'row')}"]
        pretrainings = [run.folder for run in collected.pretrainings if run.collection == name]
        parts += [count(len(pretrainings), "pretraining run")] if pretrainings else []
        found = [collected.signatures[folder] for folder in (*folders, *pretrainings)]
        signed = Counter(each.words for each in found if each.state == "signed")
        unsigned = len(found) - signed.total()
        words = [f"{number:,} signed by {who}" for who, number in sorted(signed.items())]
        words += [f"{unsigned:,} unsigned"] if words and unsigned else []
        together = f", which lies in {' and '.join(where)}" if len(where) > 1 else ""
        yield f"Collection {name}{together}: {', '.join(parts)}; {', '.join(words) or 'none signed'}."
