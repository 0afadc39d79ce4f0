"""Writing encoders to files in the layouts of other tools."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import torch
from safetensors.torch import save

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from benchmarks.files.atomic import write_atomically
from transfer.checkpoint.layouts.known import LAYOUTS, TIMM
from transfer.checkpoint.layouts.layout import Family, Layout, Weights
from transfer.checkpoint.layouts.names import FileNames
from transfer.checkpoint.refusal import ANOTHER_MODEL
from transfer.commands.destination import about_file, cannot_write
from transfer.commands.targets import TARGETS
from transfer.sources.opened import OpenedEncoder


def convert(encoder: OpenedEncoder, target: str, out: Path) -> dict[str, object]:
    """Write the encoder to `out` in a target's layout, and `out`.json beside it; return what the latter says.

    `.pth`, `.pt` and `.bin` become torch files, everything else safetensors. Raises UserError where the target has no
    layout for the family, the encoder is not whole, or `out` cannot be written (`check_destination` finds that out
    before anything is read).
    """
    layout = _layout(encoder.family, target)
    whole = encoder_tensors(encoder.weights, encoder.architecture, encoder.image_size_px, encoder.names)
    assert layout.from_timm is not None
    named = {TARGETS[target].prefix + name: t.contiguous() for name, t in layout.from_timm(whole).items()}
    data = _to_torch_file(named, TARGETS[target].key) if out.suffix in (".pth", ".pt", ".bin") else save(named)
    architecture = encoder.architecture
    if encoder.image_size_px is not None:
        architecture = architecture.at_size(encoder.image_size_px)
    about: dict[str, object] = {
        "format": target,
        "layout": layout.name,
        "architecture": architecture.name,
        "arguments": architecture.arguments,
        "norm_eps": architecture.norm_eps,
        "image_size_px": encoder.image_size_px,
        "stage": encoder.stage,
        **_training(encoder),
        "tensors": len(named),
        "sha256": hashlib.sha256(data).hexdigest(),
        "encoder_sha256": encoder.sha256,
        "source_layout": encoder.layout,
    }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, data)
        write_atomically(about_file(out), json.dumps(about, indent=2).encode())
    except OSError as error:
        raise cannot_write(out, error) from error
    return about


def _training(encoder: OpenedEncoder) -> dict[str, object]:
    """Return what is known of the encoder's training: epochs, and the normalisation of its images."""
    epochs: dict[str, object] = {} if encoder.epochs is None else {"epochs": encoder.epochs}
    normalisation = encoder.normalisation
    if normalisation is None:
        return epochs
    return {**epochs, "mean": list(normalisation.mean), "std": list(normalisation.std)}


def _layout(family: Family, target: str) -> Layout:
    if target == "timm" and family not in TARGETS["timm"].layouts and family != "torchvision":
        return TIMM
    target_layouts = TARGETS[target].layouts
    if family not in target_layouts:
        able = ", ".join(name for name, other in TARGETS.items() if family in other.layouts) or "none yet"
        raise UserError.about("--to", target, f"a tool that has this family ({family})", f"one of {able}")
    return next(layout for layout in LAYOUTS if layout.name == target_layouts[family])


def encoder_tensors(
    weights: Weights, architecture: Architecture, image_size_px: int | None, names: FileNames | None = None
) -> Weights:
    """Return exactly the tensors of timm's headless model. Raises UserError, naming what is missing or misshapen."""
    with torch.device("meta"):
        expected = build_backbone(architecture, image_size_px, whole_windows=False).state_dict()
    faults = {name: name for name in expected if name not in weights} | {
        name: f"{name} (found {list(weights[name].shape)}, expected {list(expected[name].shape)})"
        for name in expected
        if name in weights and weights[name].shape != expected[name].shape
    }
    if faults:
        shown = "; ".join(fault + (names.in_file(name) if names else "") for name, fault in list(faults.items())[:8])
        shown += f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise UserError.about("encoder", f"not whole: {shown}", "every tensor in its shape", ANOTHER_MODEL)
    return {name: weights[name] for name in expected}


def _to_torch_file(named: Weights, key: str) -> bytes:
    data = io.BytesIO()
    torch.save({key: named}, data)
    return data.getvalue()
