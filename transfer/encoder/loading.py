"""Loading weights into a model, with proof of what was loaded, what was missing, and what was left over."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from benchmarks.errors import WorkFailed, printable
from benchmarks.families.position_tables import TableMode
from benchmarks.families.table import family_of
from benchmarks.runs.record import LoadReport
from transfer.checkpoint.layouts.names import FileNames
from transfer.encoder.fit import fit_weights

# A checkpoint need not hold the new task's head, and may hold its old head, the mask token and derived buffers.
HEAD = ("head.", "head_dist.", "aux_head.", "fc.", "classifier.", "last_linear.", "classif.")
IGNORED = ("mask_token", "relative_position_index", "relative_coords_table", "attn_mask")


def load_encoder(
    model: nn.Module,
    weights: dict[str, Tensor],
    source_format: str,
    mode: TableMode = "geometric-cubic",
    *,
    with_head: bool = False,
) -> LoadReport:
    """Copy `weights` into the encoder part of `model` and report which tensors equal the source's afterwards.

    Tensors of another shape are resized first where a rule exists, position tables by `mode`. The head keeps its
    initial values. Nothing is skipped silently: see `require_complete`. The tensors themselves become those of a model
    on the meta device, which so shows what would be loaded without memory of its own. With `with_head` the head is
    loaded, and proved, as the rest is.
    """
    assign = any(tensor.is_meta for tensor in model.parameters())
    fitted = fit_weights(weights, model, mode)
    weights = fitted.weights
    state, head = model.state_dict(), frozenset() if with_head else family_of(model).head_names()
    expected = {name: tensor for name, tensor in state.items() if not is_ignored(name) and name not in head}
    offered = {
        name: tensor
        for name, tensor in weights.items()
        if name in expected or not (is_ignored(name) or (is_head(name) and not with_head))
    }
    fitting = {n: t for n, t in offered.items() if n in expected and t.shape == expected[n].shape}
    model.load_state_dict(fitting, strict=False, assign=assign)  # what does not fit is named in the report
    after = model.state_dict()
    loaded = [name for name, tensor in fitting.items() if _are_equal(after[name], tensor)]
    return LoadReport(
        source_format=source_format,
        loaded=len(loaded),
        expected=len(expected),
        parameters=_encoder_parameters(model),
        coverage_percent=100 * _elements(expected, loaded) / _elements(expected, expected),
        resized=fitted.resized,
        missing=tuple(sorted(set(expected) - set(offered))),
        unexpected=tuple(sorted(set(offered) - set(expected))),
        mismatched=tuple(
            f"{name}: found {list(offered[name].shape)}, expected {list(expected[name].shape)}"
            for name in sorted(set(offered) & set(expected) - set(fitting))
        ),
    )


def _are_equal(ours: Tensor, theirs: Tensor) -> bool:
    """Tell whether two tensors have the same values; those on the meta device have none."""
    return not (ours.is_meta or theirs.is_meta) and torch.equal(ours.cpu(), theirs.to(ours.dtype))


def random_report(model: nn.Module) -> LoadReport:
    """Return the report of an encoder that starts from random weights: nothing to load, nothing missing."""
    head = family_of(model).head_names()
    expected = sum(not is_ignored(name) and name not in head for name in model.state_dict())
    return LoadReport(
        source_format="random",
        loaded=0,
        expected=expected,
        parameters=_encoder_parameters(model),
        coverage_percent=0.0,
    )


def _encoder_parameters(model: nn.Module) -> int:
    head = family_of(model).head_names()
    return sum(tensor.numel() for name, tensor in model.named_parameters() if name not in head)


def require_complete(report: LoadReport, reference: str, names: FileNames | None = None) -> None:
    """Raise WorkFailed, naming the tensors, unless the whole encoder came from the checkpoint.

    Where the checkpoint's own `names` are given, each tensor is named as it is called there, too.
    """
    if report.complete and report.loaded == report.expected:
        return
    lines = [
        f"{reference}: only {report.loaded} of {report.expected} tensors of the encoder were loaded "
        f"({percent(report.coverage_percent)} of its parameters); a score from it would mean nothing"
    ]
    for title, faults in (
        ("missing from the checkpoint", report.missing),
        ("of another shape", report.mismatched),
        ("without a place in the encoder", report.unexpected),
    ):
        lines += [f"  {title}: {_some(faults, names)}"] if faults else []
    lines.append("  remedy: use the architecture the encoder was trained with, or another encoder")
    raise WorkFailed("\n".join(lines))


def is_head(name: str) -> bool:
    """Return whether a tensor of a file has a classifier's name, so that it may be left over.

    Of a model's own tensors `Family.head_names` says it: ConvNeXt's last norm, too, is in its head.
    """
    return name.startswith(HEAD)


def is_ignored(name: str) -> bool:
    """Return whether a tensor may be absent and is not loaded: it is derived from others, or only for pretraining."""
    return name.rsplit(".", 1)[-1] in IGNORED


def _elements(tensors: dict[str, Tensor], names: Iterable[str]) -> int:
    return sum(tensors[name].numel() for name in names)


def percent(value: float) -> str:
    """Return a percentage as text with one decimal, rounded down, so that only the whole reads "100.0 %"."""
    return f"{math.floor(value * 10) / 10:.1f} %"


def _some(faults: tuple[str, ...], names: FileNames | None, limit: int = 8) -> str:
    more = f" and {len(faults) - limit} more" if len(faults) > limit else ""
    shown = [fault + (names.in_file(fault.split(":")[0]) if names else "") for fault in faults[:limit]]
    return printable("; ".join(shown)) + more
