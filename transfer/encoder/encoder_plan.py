"""An encoder as a recipe wants it: with another window, patch size or number of channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import JsonValue

from benchmarks.encoders import Architecture, Normalisation, windows_as_json
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.samples.images import MODES
from benchmarks.errors import UserError
from benchmarks.families.table import family_named, family_of
from transfer.encoder.sizes import EncoderSizes, normalisation_of, own_protocol
from transfer.sources.preprocessing import TestProtocol
from transfer.sources.source import Source


def adapted(architecture: Architecture, sizes: EncoderSizes, *, window_assumed: bool = False) -> Architecture:
    """Return the architecture that a recipe trains; the recipe's window is ignored for a family without windows.

    SwinV2's biases are functions of offsets, measured in the windows it was pretrained with: where a stage gets another
    window, `pretrained_window_sizes` keeps the former one, as in microsoft's configurations (12to16: 12, 12, 12, 6).
    With `window_assumed` the former window is not known for certain, and the recipe's is taken for it.
    """
    family, window = family_named(architecture.name), sizes.window_size
    given: dict[str, JsonValue] = {
        "window_size": (list(window) if isinstance(window, tuple) else window) if family.takes_window else None,
        "patch_size": sizes.patch_size_px,
        "in_chans": sizes.in_chans,
    }
    wanted = architecture.with_arguments(**{name: value for name, value in given.items() if value is not None})
    if not family.scales_offsets or window_assumed:
        return wanted
    with torch.device("meta"):
        before = family_of(build_backbone(architecture, None, whole_windows=False))
        after = family_of(build_backbone(wanted, sizes.image_size_px, whole_windows=False))
    if before.windows == after.windows:
        return wanted
    return wanted.with_arguments(pretrained_window_sizes=windows_as_json(before.offset_windows))


@dataclass(frozen=True)
class EncoderPlan:
    """The encoder that a recipe makes of a source, and the normalisation of its images."""

    architecture: Architecture
    normalisation: Normalisation
    protocol: TestProtocol | None = None
    """How test images are resized and cropped, where the recipe leaves that to the encoder."""


def plan_encoder(source: Source, sizes: EncoderSizes) -> EncoderPlan:
    """Return what a recipe makes of a source.

    Raises UserError where neither the source nor the recipe gives SwinV2's window, and for channels other than 1 or 3.
    """
    if source.window_assumed and sizes.window_size is None:
        rule = "a known window (SwinV2's tensors do not show it)"
        remedy = "add window_size=N or --architecture NAME, or put the config.json / FILE.json beside it"
        raise UserError.about(f"window of {source.use.reference}", "(unknown)", rule, remedy)
    architecture = adapted(source.use.architecture, sizes, window_assumed=source.window_assumed or source.read is None)
    if architecture.in_chans not in MODES:
        rule = f"one of {sorted(MODES)} (image files are read as grey or RGB)"
        raise UserError.about("in_chans", architecture.in_chans, rule, "add in_chans=1 or in_chans=3")
    return EncoderPlan(architecture, normalisation_of(source, sizes), own_protocol(source, sizes))
