"""Sizes that most tensors of a stage agree on, so that a single odd tensor is reported, and not all the others."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from benchmarks.errors import UserError
from transfer.checkpoint.layouts.layout import Weights

Evidence = tuple[tuple[str, int], ...]
"""Names of tensors in a block, each with the number of the dimension that is the size in question."""

_NORMS = tuple((f"norm{number}.{kind}", 0) for number in (1, 2) for kind in ("weight", "bias"))
WIDTH: Final[Evidence] = (*_NORMS, ("attn.proj.bias", 0))
HIDDEN: Final[Evidence] = (("mlp.fc1.weight", 0), ("mlp.fc1.bias", 0), ("mlp.fc2.weight", 1))
SWINV2_HEADS: Final[Evidence] = (("attn.logit_scale", 0), ("attn.cpb_mlp.2.weight", 0))


def agreed(weights: Weights, stage: int, evidence: Evidence) -> int:
    """Return the size that most tensors of `evidence` have in a stage of Swin or SwinV2.

    Raises UserError where the stage holds none of them.
    """
    dimensions = dict(evidence)
    sizes: Counter[int] = Counter()
    for name, tensor in weights.items():
        block = re.match(rf"layers\.{stage}\.blocks\.\d+\.(.+)", name)
        if block and block[1] in dimensions and tensor.ndim > dimensions[block[1]] and tensor.numel():
            sizes[tensor.shape[dimensions[block[1]]]] += 1
    if not sizes:
        name = f"layers.{stage}.blocks.0.{evidence[0][0]}"
        raise UserError.about(name, "(missing)", "a tensor that shows the architecture", "use a whole checkpoint")
    return sizes.most_common(1)[0][0]
