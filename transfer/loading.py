"""Weights into a model, with proof: what was loaded, what was missing, what was left over."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from benchmarks.errors import WorkFailed
from benchmarks.record import LoadReport

# A checkpoint need not hold the new task's head, and may hold its old head, the mask token and derived buffers.
HEAD = ("head.", "fc.", "classifier.")
IGNORED = ("mask_token", "relative_position_index", "attn_mask")


def load_encoder(model: nn.Module, weights: dict[str, Tensor], source_format: str) -> LoadReport:
    """Copy `weights` into the encoder part of `model` and report what is, afterwards, equal to the source.

    The head keeps its initial values. Nothing is skipped silently: see `require_complete`.
    """
    state = model.state_dict()
    expected = {name: tensor for name, tensor in state.items() if not is_head(name)}
    offered = {name: tensor for name, tensor in weights.items() if not is_head(name) and not _is_ignored(name)}
    fitting = {n: t for n, t in offered.items() if n in expected and t.shape == expected[n].shape}
    model.load_state_dict(fitting, strict=False)  # what does not fit is named in the report
    after = model.state_dict()
    loaded = [name for name, tensor in fitting.items() if torch.equal(after[name].cpu(), tensor.to(after[name].dtype))]
    return LoadReport(
        source_format=source_format,
        loaded=len(loaded),
        expected=len(expected),
        coverage_percent=100 * _elements(expected, loaded) / _elements(expected, expected),
        missing=tuple(sorted(set(expected) - set(offered))),
        unexpected=tuple(sorted(set(offered) - set(expected))),
        mismatched=tuple(
            f"{name}: found {list(offered[name].shape)}, expected {list(expected[name].shape)}"
            for name in sorted(set(offered) & set(expected) - set(fitting))
        ),
    )


def random_report(model: nn.Module) -> LoadReport:
    """Return the report of an encoder that starts from random weights: nothing to load, nothing missing."""
    expected = sum(not is_head(name) for name in model.state_dict())
    return LoadReport(source_format="random", loaded=0, expected=expected, coverage_percent=0.0)


def require_complete(report: LoadReport, reference: str) -> None:
    """Raise WorkFailed, naming the tensors, unless the whole encoder came from the checkpoint."""
    if report.complete and report.loaded == report.expected:
        return
    lines = [
        f"{reference}: only {report.coverage_percent:.1f} % of the encoder was loaded "
        f"({report.loaded} of {report.expected} tensors); a score from it would mean nothing"
    ]
    for title, names in (
        ("missing from the checkpoint", report.missing),
        ("of another shape", report.mismatched),
        ("without a place in the encoder", report.unexpected),
    ):
        lines += [f"  {title}: {_some(names)}"] if names else []
    lines.append("  remedy: use the image size and window the encoder was trained with, or another encoder")
    raise WorkFailed("\n".join(lines))


def is_head(name: str) -> bool:
    """Tell whether a tensor belongs to a classifier rather than to the encoder."""
    return name.startswith(HEAD)


def _is_ignored(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in IGNORED


def _elements(tensors: dict[str, Tensor], names: Iterable[str]) -> int:
    return sum(tensors[name].numel() for name in names)


def _some(names: tuple[str, ...], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return "; ".join(names[:limit]) + more
