"""Every kind of head that torchvision's classifiers have: scored as torchvision scores it, or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.vision_transformer import VisionTransformer

from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from benchmarks.verbs.statement import EncoderStatement
from tests.support.random_weights import randomise
from tests.transfer.checkpoint import swin_zoo
from transfer.encoder.proof.loading import load_source
from transfer.sources.headed import headed_source

STAGES = ((8, 16, 1), (16, 24, 1), (24, 32, 2), (32, None, 1))
READ: dict[str, Callable[[], Any]] = {
    "fc": partial(torchvision.models.ResNet, torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=7),
    "classifier.2": partial(ConvNeXt, [CNBlockConfig(*each) for each in STAGES], num_classes=7),
    "heads.head": partial(VisionTransformer, 64, 16, 2, 3, 192, 384, num_classes=7),
    "head": lambda: swin_zoo.of_torchvision(swin_zoo.TINY, 1).model,
    "classifier.3": partial(torchvision.models.mobilenet_v3_small, num_classes=7),
}
"""By the name of the head, small models of the classes whose files are read."""
NOT_READ = ("alexnet", "mnasnet0_5", "shufflenet_v2_x0_5")
"""Classes whose files are in no layout that is known."""


@pytest.mark.parametrize("head", READ)
def test_logits_are_torchvisions(head: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = randomise(READ[head]())
    side = 96 if head == "head" else 64
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    source = headed_source(str(tmp_path / "theirs.pth"), EncoderStatement(stage="supervised"))
    ours = build_backbone(source.use.architecture, side, num_classes=source.num_classes).eval()
    assert load_source(ours, source, with_head=True).complete
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NOT_READ)
def test_heads_of_other_classes_are_found_and_their_layout_is_refused(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = torchvision.models.get_model(name, num_classes=7).state_dict()
    torch.save({key: torch.zeros(each.shape, dtype=each.dtype) for key, each in shapes.items()}, tmp_path / "f.pth")
    with pytest.raises(UserError, match="an encoder in a known layout"):
        headed_source(str(tmp_path / "f.pth"), EncoderStatement(stage="supervised"))
