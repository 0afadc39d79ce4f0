"""What heads cost by arithmetic, beside the totals that were published of whole models."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.config import load_recipe
from benchmarks.encoders import Architecture
from slurm.plan.estimate.encoders import EncoderCost, Volume, encoder_cost
from slurm.plan.estimate.heads import detector, upernet
from transfer.detection.recipe import DetectionRecipe
from transfer.segmentation.recipe import SegmentationRecipe


def swin(size: str, volume: Volume) -> EncoderCost:
    found = encoder_cost(Architecture(name=f"swin_{size}_patch4_window7_224"), volume)
    assert found is not None
    return found


@pytest.mark.parametrize(("size", "giga", "mega"), [("tiny", 945, 60), ("small", 1038, 81), ("base", 1188, 121)])
def test_upernet_costs_what_swin_published(size: str, giga: float, mega: float) -> None:
    """microsoft/Swin-Transformer, README: of images of 512 x 2048 px."""
    recipe: Any = load_recipe(SegmentationRecipe, "transfer", "ade20k_upernet_swin_base", ["data.root=x"]).config
    volume = Volume(512, 2048)
    encoder = swin(size, volume)
    head = upernet(recipe, encoder, volume, "ade20k")
    assert (encoder.flops + head.testing_flops) / 2e9 == pytest.approx(giga, rel=0.01)
    assert (encoder.parameters + head.parameters) / 1e6 == pytest.approx(mega, rel=0.02)


@pytest.mark.parametrize(
    ("size", "heads", "box_head", "giga", "mega"),
    [
        ("tiny", "mask_rcnn", "2fc", 267, 48),
        ("small", "mask_rcnn", "2fc", 359, 69),
        ("tiny", "cascade_mask_rcnn", "4conv1fc", 745, 86),
        ("base", "cascade_mask_rcnn", "4conv1fc", 982, 145),
    ],
)
def test_detectors_cost_what_swin_published(size: str, heads: str, box_head: str, giga: float, mega: float) -> None:
    """SwinTransformer/Swin-Transformer-Object-Detection, README: of images of 1280 x 800 px."""
    chosen = [f"heads={heads}", f"box_head={box_head}", "rpn_convs=1", "engine=detectron2", "data.root=x"]
    recipe: Any = load_recipe(DetectionRecipe, "transfer", "coco_mask_rcnn_swin_base", chosen).config
    volume = Volume(800, 1280)
    encoder = swin(size, volume)
    head = detector(recipe, encoder, volume, "coco")
    assert (encoder.flops + head.testing_flops) / 2e9 == pytest.approx(giga, rel=0.01)
    assert (encoder.parameters + head.parameters) / 1e6 == pytest.approx(mega, rel=0.02)
