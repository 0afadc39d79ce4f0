"""The encoder that a pretraining starts from: any that a transfer takes, loaded with the same proof."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from benchmarks.families.table import family_of
from benchmarks.runs.record import LoadReport
from benchmarks.verbs.initial import InitialEncoder
from benchmarks.verbs.statement import EncoderStatement
from transfer.encoder.proof.loading import load_source, require_loaded
from transfer.sources.references import resolve
from transfer.sources.source import Source

_RESIZED = ("img_size", "window_size", "pretrained_window_sizes", "patch_size", "in_chans")
"""Properties in which the two may differ, as the weights are resized, or which `_check_offsets` compares."""


def find_initial(reference: str, said: EncoderStatement) -> InitialEncoder:
    """Return the encoder that `reference` names. Raises what `resolve` raises, and UserError for random weights."""
    source = resolve(reference, said)
    if source.read is None:
        rule = "an encoder that has weights: a run, an export, any checkpoint, timm:NAME or hf-hub:NAME"
        remedy = "leave --initial out: without it a pretraining starts from random weights"
        raise UserError.about("--initial", reference, rule, remedy)
    return _FoundInitial(source.use, source.parents, source.normalisation, source)


@dataclass(frozen=True)
class _FoundInitial(InitialEncoder):
    source: Source

    def load(self, backbone: nn.Module) -> LoadReport:
        _check_same(self.source, backbone)
        return load_source(backbone, self.source, given=self.source.assumed)

    def require_complete(self, report: LoadReport) -> None:
        require_loaded(report, self.source)


def _check_same(source: Source, backbone: nn.Module) -> None:
    """Raise UserError where the source's encoder computes something else than `backbone` would with its weights.

    Tensors are compared when they are loaded; here it is what no shape shows, such as the number of heads.
    """
    theirs, ours = family_of(_on_meta(source.use.architecture)), family_of(backbone)
    if type(theirs) is not type(ours):
        raise _disagreement(source, "family", theirs.name or type(theirs.model).__name__, ours.name)
    before, wanted = theirs.properties(), ours.properties()
    for name in before:
        if name not in _RESIZED and name not in source.assumed and before[name] != wanted[name]:
            raise _disagreement(source, name, before[name], wanted[name])
    if ours.scales_offsets and not source.window_assumed and theirs.offset_windows != ours.offset_windows:
        raise UserError.about(
            "encoder.arguments.pretrained_window_sizes",
            [list(window) for window in ours.offset_windows],
            f"the windows in which {source.use.reference} measures offsets ({_windows(theirs.offset_windows)})",
            f"set encoder.arguments.pretrained_window_sizes={_windows(theirs.offset_windows)}",
        )


def _windows(windows: Any) -> str:
    return f"[{', '.join(str(list(window)) for window in windows)}]"


def _disagreement(source: Source, name: str, theirs: object, ours: object) -> UserError:
    rule = f"the architecture of the recipe's encoder ({name}: {ours}); its own is {source.use.architecture.name}"
    remedy = "set the recipe's encoder to the one that was trained, or start from another"
    return UserError.about("--initial", f"{source.use.reference} ({name}: {theirs})", rule, remedy)


def _on_meta(architecture: Architecture) -> nn.Module:
    with torch.device("meta"):
        return build_backbone(architecture, None, whole_windows=False)
