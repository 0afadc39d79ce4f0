"""A sweep: one entry of a pipeline file that stands for several pretrainings, one for each combination of values."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator

from slurm.graph.pipeline import PipelineFile, Pretrain, Source


def without_sweeps(file: PipelineFile) -> PipelineFile:
    """Return `file` with every sweep written out: one plain entry, and one encoder, for each combination.

    An entry `ratio` over `masking.mask_ratio: [0.4, 0.5]` becomes `ratio-mask_ratio=0.4` and `ratio-mask_ratio=0.5`.
    """
    members = {name: list(_members(name, entry)) for name, entry in file.pretrain.items() if entry.sweep}
    pretrain: dict[str, Pretrain] = {}
    for name, entry in file.pretrain.items():
        pretrain |= dict(members.get(name, [(name, entry)]))
    encoders: dict[str, Source] = {}
    for name, source in file.encoders.items():
        section, _, parent = (source.from_ or "").partition(".")
        swept = members.get(parent, []) if section == "pretrain" else []
        for member, _ in swept:
            encoders[name + member.removeprefix(parent)] = source.model_copy(update={"from_": f"pretrain.{member}"})
        if not swept:
            encoders[name] = source
    return file.model_copy(update={"pretrain": pretrain, "encoders": encoders})


def _members(name: str, entry: Pretrain) -> Iterator[tuple[str, Pretrain]]:
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
