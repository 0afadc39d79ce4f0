"""What is known of published encoders, and neither their tensors nor files beside them show."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_OPENAI_ONLY = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives hold beside the towers, and no other library's files."""


def known_of_openai(beside: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the activation of OpenAI's own files, as a configuration would have it; empty for all others."""
    return {"hidden_act": "quick_gelu"} if all(name in beside for name in _OPENAI_ONLY) else {}
