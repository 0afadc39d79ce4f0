"""What is known of published encoders of a layout, and neither their tensors nor files beside them show."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from benchmarks.encoders import Normalisation
from transfer.checkpoint.layouts.layout import Layout

_CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = Normalisation((0.5,) * 3, (0.5,) * 3)
_OPENAI_ONLY = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives hold beside the towers, and no other library's files."""


def usual_normalisation(layout: Layout, channels: int) -> Normalisation | None:
    """Return the normalisation of every published encoder of a layout; None where that is ImageNet's, or they differ.

    Sources: openai/CLIP `clip.py`, baaivision/EVA `EVA-02/asuka`, apple/ml-aim `aim-v2`, Hugging Face's SigLIP
    processors, facebookresearch/perception_models `core/vision_encoder/transforms.py`.
    """
    if channels != 3:
        return None
    if layout.family in ("clip", "aimv2") or layout.name == "eva02":
        return _CLIP
    return _HALF if layout.family == "siglip" or layout.name == "perception-encoder" else None


def known_of_openai(beside: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the activation of OpenAI's own files, as a configuration would have it; empty for all others."""
    return {"hidden_act": "quick_gelu"} if all(name in beside for name in _OPENAI_ONLY) else {}
