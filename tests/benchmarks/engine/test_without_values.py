"""Models of shapes alone are those that are built with values, whose initialisation is the only thing left out."""

from __future__ import annotations

import pytest
import torch

from benchmarks.encoders import find_architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.without_values import WithoutValues


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "vit_tiny_patch16_224"])
def test_names_shapes_and_types_are_those_of_the_model_with_values(name: str) -> None:
    architecture = find_architecture(name)
    with torch.device("meta"):
        hollow = build_backbone(architecture, None)
    whole = build_backbone(architecture, None)
    assert all(tensor.is_meta for tensor in hollow.state_dict().values())
    described = [
        [
            (key, tensor.shape, tensor.dtype, tensor.requires_grad)
            for key, tensor in model.state_dict(keep_vars=True).items()
        ]
        for model in (hollow, whole)
    ]
    assert described[0] == described[1]


def test_tensors_with_values_and_sums_of_tensors_are_computed() -> None:
    with WithoutValues():
        real = torch.zeros(2).add_(1).clamp_(max=0.5)
        hollow = torch.empty(2, device="meta").clamp_(max=0.5)
        with pytest.raises(RuntimeError):
            torch.empty(2, device="meta").add_(torch.empty(3, device="meta"))
    assert real.tolist() == [0.5, 0.5]
    assert (hollow.is_meta, hollow.shape) == (True, (2,))
