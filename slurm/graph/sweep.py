"""A sweep: one entry of a pipeline file that stands for several pretrainings or tasks, one for each combination.

Several seeds of a pretraining are written out likewise, after the sweeps.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeVar

from benchmarks.errors import four_parts
from slurm.graph.entries import Compared, Pretrain, Source, Swept
from slurm.graph.pipeline import PipelineFile

S = TypeVar("S", bound=Swept)
F = TypeVar("F", bound=Source)


def without_sweeps(file: PipelineFile) -> PipelineFile:
    """Return `file` with every sweep written out: one plain entry for each combination, and one encoder for each
    pretraining.

    An entry `ratio` over `masking.mask_ratio: [0.4, 0.5]` becomes `ratio-mask_ratio=0.4` and `ratio-mask_ratio=0.5`.
    """
    swept_as = {name: list(members(name, entry)) for name, entry in file.pretrain.items() if entry.sweep}
    pretrain = _written_out(file.pretrain)
    named = {
        name: entry.model_copy(update={"task": file.task(name)}) for name, entry in file.tasks.items() if entry.sweep
    }
    tasks = _written_out({**file.tasks, **named})
    encoders: dict[str, Compared] = {}
    for name, source in file.encoders.items():
        section, _, parent = (source.from_ or "").partition(".")
        swept = swept_as.get(parent, []) if section == "pretrain" else []
        for member, _ in swept:
            encoders[name + member.removeprefix(parent)] = source.model_copy(update={"from_": f"pretrain.{member}"})
        if not swept:
            encoders[name] = source
    return _without_seeds(file.model_copy(update={"pretrain": pretrain, "encoders": encoders, "tasks": tasks}))


def _without_seeds(file: PipelineFile) -> PipelineFile:
    """Return `file` with one entry `NAME-seed=S` for each seed of a pretraining, and for each of what starts from it.

    Encoders keep their label, so that reports make one row of them.
    """
    pretrain: dict[str, Pretrain] = {}
    for name, entry in file.pretrain.items():
        for suffix, seed in _suffixes(file, f"pretrain.{name}"):
            start = None if entry.initial is None else _after(file, entry.initial, suffix)
            own = {} if entry.seeds is None else {"seed": seed, "seeds": None}
            pretrain[name + suffix] = entry.model_copy(update={**own, "initial": start})
    finetune = {
        name + suffix: entry.model_copy(update={"encoder": _after(file, entry.encoder, suffix)})
        for name, entry in file.finetune.items()
        for suffix, _ in _suffixes(file, f"finetune.{name}")
    }
    encoders: dict[str, Compared] = {}
    for name, source in file.encoders.items():
        for suffix, _ in _suffixes(file, source.from_ or ""):
            label = {"label": source.label or name} if suffix else {}
            encoders[name + suffix] = _after(file, source, suffix).model_copy(update=label)
    return file.model_copy(update={"pretrain": pretrain, "finetune": finetune, "encoders": encoders})


def _after(file: PipelineFile, source: F, suffix: str) -> F:
    """Return what an entry starts from as that is written out."""
    if source.from_ is None or not file.seeds_before(source.from_):
        return source
    return source.model_copy(update={"from_": source.from_ + suffix})


def _suffixes(file: PipelineFile, entry: str) -> list[tuple[str, int | None]]:
    """Return the end of each name that an entry is written out to, with the seed; one empty end without several."""
    return [(f"-seed={seed}", seed) for seed in file.seeds_before(entry)] or [("", None)]


def alike(file: PipelineFile) -> Iterator[str]:
    """Yield a mistake for every sweep of which two combinations would have the same name."""
    for section, entries in (("pretrain", file.pretrain), ("tasks", file.tasks)):
        for name, entry in entries.items():
            counts = Counter(member for member, _ in members(name, entry)) if entry.sweep else {}
            if twice := [member for member, count in counts.items() if count > 1]:
                rule = f"values whose names differ in more than signs ({twice[0]} stands for several)"
                yield four_parts(f"{section}.{name}.sweep", list(entry.sweep or ()), rule, "an entry for each")


def seed_mistakes(file: PipelineFile) -> Iterator[str]:
    """Yield a mistake for every pretraining whose several seeds go with nothing else that it has."""
    for name, entry in file.pretrain.items():
        start = None if entry.initial is None else entry.initial.from_
        several = start is not None and file.seeds_before(start)
        if entry.seeds is not None:
            value = list(entry.seeds)
            if "seed" in entry.model_fields_set:
                yield four_parts(f"pretrain.{name}.seeds", value, "one of `seed` and `seeds`", "remove one of them")
            if len(set(value)) < len(value):
                yield four_parts(f"pretrain.{name}.seeds", value, "each of the `seeds` once", "remove the repetition")
            if entry.rungs is not None:
                rule = "left out: members of a sweep that stops early have one seed"
                yield four_parts(f"pretrain.{name}.seeds", value, rule, "remove `seeds`, or `rungs`")
        for field in ("seeds", "rungs") if several else ():
            if (found := getattr(entry, field)) is not None:
                rule = f"left out: {start}, which it starts from, has several seeds"
                yield four_parts(f"pretrain.{name}.{field}", list(found), rule, f"remove pretrain.{name}.{field}")


def _written_out(entries: Mapping[str, S]) -> dict[str, S]:
    found: dict[str, S] = {}
    for name, entry in entries.items():
        found |= dict(members(name, entry)) if entry.sweep else {name: entry}
    return found


def members(name: str, entry: S) -> Iterator[tuple[str, S]]:
    """Yield the combinations in the order of the file, the last field changing fastest."""
    sweep = entry.sweep or {}
    short = _short_names(list(sweep))
    for values in itertools.product(*sweep.values()):
        chosen = dict(zip(sweep, values, strict=True))
        parts = [f"{short[field]}={_readable(value)}" for field, value in chosen.items()]
        overrides = tuple(f"{field}={json.dumps(value)}" for field, value in chosen.items())
        changes = {"overrides": (*entry.overrides, *overrides), "sweep": None}
        yield "-".join([name, *parts]), entry.model_copy(update=changes)


def _short_names(fields: list[str]) -> dict[str, str]:
    """Return each field's last part, or all of it where two fields end alike."""
    last = [field.rpartition(".")[2] for field in fields]
    return {field: end if last.count(end) == 1 else field for field, end in zip(fields, last, strict=True)}


def _readable(value: object) -> str:
    """Return a value as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", value if isinstance(value, str) else json.dumps(value)).strip("_")
