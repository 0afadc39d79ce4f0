"""Loading weights into a model, with proof of what was loaded, what was missing, and what was left over."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping

import torch
from torch import Tensor, nn

from benchmarks.errors import WorkFailed, printable
from benchmarks.families.table import family_of
from benchmarks.families.windows.position_tables import TableMode
from benchmarks.runs.record import LoadReport
from transfer.checkpoint.layouts.names import FileNames
from transfer.encoder.proof.fit import fit_weights
from transfer.encoder.proof.plausible import UNTRAINED, implausible
from transfer.sources.source import Source

# A checkpoint need not hold the new task's head, and may hold its old head, the mask token and derived buffers.
HEAD = ("head.", "head_dist.", "aux_head.", "fc.", "classifier.", "last_linear.", "classif.")
ALLOW_IMPLAUSIBLE = "--allow-implausible-weights"
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
    fitted = fit_weights(weights, model, mode)
    expected = _expected(model, with_head)
    offered = _offered(fitted.weights, expected, with_head)
    return _copy(model, expected, offered, source_format).model_copy(update={"resized": fitted.resized})


def load_exactly(
    model: nn.Module, weights: dict[str, Tensor], source_format: str, derived: Iterable[str] = ()
) -> LoadReport:
    """Copy `weights` into the whole of `model`, whose names they bear, and report as `load_encoder` does.

    Nothing is resized and nothing left out but tensors whose names end in one of `derived`, which need not be there.
    """
    ends = tuple(derived)
    expected = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(ends)}
    offered = {name: tensor for name, tensor in weights.items() if not name.endswith(ends)}
    return _copy(model, expected, offered, source_format)


def _expected(model: nn.Module, with_head: bool) -> dict[str, Tensor]:
    """Return the tensors of a model that must come from the source."""
    head = frozenset() if with_head else family_of(model).head_names()
    return {name: tensor for name, tensor in model.state_dict().items() if not is_ignored(name) and name not in head}


def _offered(weights: dict[str, Tensor], expected: Container[str], with_head: bool) -> dict[str, Tensor]:
    """Return the tensors of a source that must have a place in the model."""
    return {
        name: tensor
        for name, tensor in weights.items()
        if name in expected or not (is_ignored(name) or (is_head(name) and not with_head))
    }


def _copy(model: nn.Module, expected: dict[str, Tensor], offered: dict[str, Tensor], source_format: str) -> LoadReport:
    """Copy what fits of the `offered` tensors, and report which of the `expected` ones equal them afterwards.

    The tensors themselves become those of a model on the meta device.
    """
    assign = _is_on_meta(model)
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
        missing=tuple(sorted(set(expected) - set(offered))),
        unexpected=tuple(sorted(set(offered) - set(expected))),
        mismatched=tuple(
            f"{name}: found {list(offered[name].shape)}, expected {list(expected[name].shape)}"
            for name in sorted(set(offered) & set(expected) - set(fitting))
        ),
    )


def _are_equal(ours: Tensor, theirs: Tensor) -> bool:
    """Tell whether two tensors have the same values, NaN as well; those on the meta device have none."""
    if ours.is_meta or theirs.is_meta:
        return False
    ours, theirs = ours.cpu(), theirs.to(ours.dtype)
    if torch.equal(ours, theirs) or ours.shape != theirs.shape:
        return ours.shape == theirs.shape
    return bool(((ours == theirs) | (ours.isnan() & theirs.isnan())).all())


def _is_on_meta(model: nn.Module) -> bool:
    return any(tensor.is_meta for tensor in model.parameters())


def load_source(
    model: nn.Module,
    source: Source,
    mode: TableMode = "geometric-cubic",
    *,
    given: Container[str] = (),
    with_head: bool = False,
) -> LoadReport:
    """Load a source's weights as `load_encoder` does, and report besides what speaks for and against them.

    `given` names the arguments that a recipe sets, of which nothing was assumed. Of a model on the meta device, which
    only shows what would be loaded, the weights are not searched for implausible ones.
    """
    assert source.read is not None, "random weights are not loaded"
    weights, only_shown = source.read(), _is_on_meta(model)
    report = load_encoder(model, weights, source.source_format, mode, with_head=with_head)
    odd = () if only_shown else implausible(_offered(weights, _expected(model, with_head), with_head))
    return report.model_copy(update={"notes": source.notes(given), "implausible": odd, "parity": source.parity})


def implausible_in(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return what speaks against an encoder's weights, under timm's names, before there is a model to load them into.

    It is what `load_source` finds of them: a head, and what is only for pretraining, is left out.
    """
    return implausible({name: each for name, each in weights.items() if not (is_head(name) or is_ignored(name))})


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
    if report.loaded == report.expected and not (report.missing or report.mismatched):
        found = (
            f"all {report.expected} tensors of the encoder were loaded, but {len(report.unexpected)} more in the file "
            "have no place in it: it is of another architecture, and its score would be another one's"
        )
    else:
        found = (
            f"only {report.loaded} of {report.expected} tensors of the encoder were loaded "
            f"({percent(report.coverage_percent)} of its parameters); a score from it would mean nothing"
        )
    lines = [f"{reference}: {found}"]
    for title, faults in (
        ("missing from the checkpoint", report.missing),
        ("of another shape", report.mismatched),
        ("without a place in the encoder", report.unexpected),
    ):
        lines += [f"  {title}: {_some(faults, names)}"] if faults else []
    lines.append("  remedy: use the architecture the encoder was trained with, or another encoder")
    raise WorkFailed("\n".join(lines))


def require_loaded(report: LoadReport, source: Source) -> None:
    """Raise WorkFailed unless a source's whole encoder was loaded, with weights that training can have left.

    Implausible weights pass where the source says that they are allowed; the report keeps them.
    """
    require_complete(report, source.use.reference, source.names)
    if not report.implausible or source.implausible_allowed:
        return
    count = len(report.implausible)
    names = None if UNTRAINED in report.implausible[0] else source.names  # which are of tensors, not of blocks
    raise WorkFailed(
        f"{source.use.reference}: all {report.expected} tensors were loaded, but {count} "
        f"{'finding speaks' if count == 1 else 'findings speak'} against their having been trained\n"
        f"  implausible: {_some(report.implausible, names)}\n"
        f"  remedy: take the file that was meant; {ALLOW_IMPLAUSIBLE} goes on with it, and the record says so"
    )


def is_head(name: str) -> bool:
    """Return whether a tensor of a file belongs to a classifier by its name, so that it may be left over.

    Of a model's own tensors `Family.head_names` says it.
    """
    return name.startswith(HEAD) and not name.startswith("head.norm.")  # ConvNeXt's and Hiera's last norm


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
