"""The encoder of DALL-E's dVAE, whose tokens BEiT predicts, from its published weights.

Source of the architecture and of the names: openai/DALL-E, `dall_e/encoder.py` and `dall_e/utils.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from benchmarks.errors import UserError, first_of, printable
from pretrain.method.tokenizer import TokenizerShape

FIELD = "target.weights"
GROUPS, CONVOLUTIONS = 4, 4
PIXELS_PER_TOKEN = 2 ** (GROUPS - 1)
"""The side of a token: the map is halved after each group but the last."""
LOGIT_LAPLACE_EPS = 0.1
"""Pixels of 0 to 1 enter the network as 0.1 to 0.9."""
Shapes = dict[str, tuple[int, ...]]


class Dvae:
    """Turns images into tokens, without gradient."""

    def __init__(self, path: Path, device: torch.device, tokens: int) -> None:
        """Load the weights for images of `tokens` tokens a side.

        Raises UserError unless the file holds every tensor of such an encoder, in its shape, and no other.
        """
        self._weights = {name: tensor.to(device) for name, tensor in read_dvae(path).items()}
        first, last = self._weights["blocks.input.w"], self._weights["blocks.output.conv.w"]
        self.shape = TokenizerShape(first.shape[1], tokens * PIXELS_PER_TOKEN, last.shape[0], tokens)
        self._blocks = _blocks_per_group(self._weights)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return tokens [B, t, t] int64 of images [B, C, 8t, 8t] of 0 to 1: the most likely class, as in BEiT."""
        with torch.autocast(images.device.type, enabled=False):
            return self.scores(images.detach().float()).argmax(dim=1)

    def scores(self, images: Tensor) -> Tensor:
        """Return the scores [B, vocabulary, t, t] of images [B, C, 8t, 8t] float of 0 to 1."""
        values = self._convolved("blocks.input", (1 - 2 * LOGIT_LAPLACE_EPS) * images + LOGIT_LAPLACE_EPS)
        for group in range(1, GROUPS + 1):
            for block in range(1, self._blocks + 1):
                values = self._block(f"blocks.group_{group}.block_{block}", values)
            if group < GROUPS:
                values = functional.max_pool2d(values, 2)
        return self._convolved("blocks.output.conv", values.relu())

    def _block(self, name: str, values: Tensor) -> Tensor:
        """Return a residual block's output; the residual part is divided by the squared number of all blocks."""
        own = values
        for number in range(1, CONVOLUTIONS + 1):
            own = self._convolved(f"{name}.res_path.conv_{number}", own.relu())
        kept = self._convolved(f"{name}.id_path", values) if f"{name}.id_path.w" in self._weights else values
        return kept + own / (GROUPS * self._blocks) ** 2

    def _convolved(self, name: str, values: Tensor) -> Tensor:
        weight = self._weights[f"{name}.w"]
        return functional.conv2d(values, weight, self._weights[f"{name}.b"], padding=weight.shape[-1] // 2)


def read_dvae(path: Path) -> dict[str, Tensor]:
    """Return the weights of a safetensors file as fp32. Raises UserError, naming each tensor that is wrong."""
    rule = "the weights of DALL-E's dVAE encoder as safetensors"
    remedy = "mimbench checkpoint tensors encoder.pkl --out dvae.safetensors"
    try:
        found = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        shown = f"{path} ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        raise UserError.about(FIELD, shown, rule, remedy) from None
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    faults = _faults(shapes)
    if faults:
        raise UserError.about(FIELD, f"{path} ({printable(first_of(faults, 8, '; '))})", rule, remedy)
    if wrong := [name for name, tensor in found.items() if not tensor.is_floating_point()]:
        raise UserError.about(FIELD, f"{path} ({wrong[0]}: {found[wrong[0]].dtype})", rule, remedy)
    return {name: tensor.float() for name, tensor in found.items()}


def expected_shapes(channels: int, width: int, blocks: int, vocabulary: int) -> Shapes:
    """Return every tensor's shape where the first group has `width` channels and each group `blocks` blocks."""
    kernels: Shapes = {"blocks.input": (width, channels, 7, 7)}
    before = width
    for group in range(1, GROUPS + 1):
        after = width * 2 ** (group - 1)
        for block in range(1, blocks + 1):
            kernels |= _block_kernels(f"blocks.group_{group}.block_{block}", before, after)
            before = after
    kernels["blocks.output.conv"] = (vocabulary, before, 1, 1)
    return {f"{name}.w": shape for name, shape in kernels.items()} | {
        f"{name}.b": shape[:1] for name, shape in kernels.items()
    }


def _block_kernels(name: str, before: int, after: int) -> Shapes:
    inner = after // 4
    path = [(inner, before, 3, 3), (inner, inner, 3, 3), (inner, inner, 3, 3), (after, inner, 1, 1)]
    kernels: Shapes = {f"{name}.res_path.conv_{number}": shape for number, shape in enumerate(path, start=1)}
    return kernels if before == after else {**kernels, f"{name}.id_path": (after, before, 1, 1)}


def _faults(shapes: Shapes) -> list[str]:
    """Return what keeps tensors from being a dVAE encoder: each that is missing, too much, or of another shape."""
    first, last = shapes.get("blocks.input.w", ()), shapes.get("blocks.output.conv.w", ())
    if len(first) != 4 or len(last) != 4:
        return [
            f"no convolution {name}" for name, w in (("blocks.input", first), ("blocks.output.conv", last)) if not w
        ] or [f"blocks.input.w: {list(first)}, blocks.output.conv.w: {list(last)}"]
    expected = expected_shapes(first[1], first[0], _blocks_per_group(shapes), last[0])
    return list(_differences(shapes, expected))


def _differences(shapes: Shapes, expected: Shapes) -> Iterator[str]:
    for name in sorted({*shapes, *expected}):
        if name not in shapes:
            yield f"missing {name}"
        elif name not in expected:
            yield f"without a place {name}"
        elif shapes[name] != expected[name]:
            yield f"{name}: found {list(shapes[name])}, expected {list(expected[name])}"


def _blocks_per_group(names: dict[str, Tensor] | Shapes) -> int:
    return max(1, sum(name.startswith("blocks.group_1.block_") and name.endswith(".conv_1.w") for name in names))
