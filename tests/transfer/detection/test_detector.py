"""What all detectors share, and the torchvision engine against torchvision's own Mask R-CNN."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

from benchmarks.errors import UserError
from tests.transfer.detection.detectors import CLASSES, SWIN, VIT, batch, detector, recipe, target
from transfer.detection.models.detector import Found, Images, at_own_size
from transfer.detection.models.torchvision import Anchors


class Levels(nn.Module):
    """Our encoder and pyramid as a backbone of torchvision's model."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.ours, self.out_channels = [ours], 32  # in a list: the weights are ours, not this model's

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return OrderedDict(zip(["0", "1", "2", "3", "pool"], self.ours[0].levels(images), strict=True))


def whole_model(ours: Any) -> MaskRCNN:
    """Return torchvision's model with our parts in it, which leaves images as they are."""
    anchors, per_image = recipe().anchors, recipe().proposals.per_image
    sizes = tuple((size,) for size in anchors.sizes_px)
    model = MaskRCNN(
        Levels(ours),
        CLASSES + 1,
        min_size=128,
        max_size=192,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=AnchorGenerator(sizes, (anchors.ratios,) * 5),
        rpn_head=ours.rpn.head,
        rpn_pre_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_train=100,
        rpn_post_nms_top_n_test=50,
        rpn_batch_size_per_image=64,
        box_head=ours.heads.box_head,
        mask_head=ours.heads.mask_head,
        box_batch_size_per_image=per_image,
        box_detections_per_img=10,
    )
    model.roi_heads.box_predictor = ours.heads.box_predictor
    model.roi_heads.mask_predictor = ours.heads.mask_predictor
    return model


def test_losses_and_detections_are_those_of_torchvisions_own_model() -> None:
    """At multiples of 64 px, where torchvision's own strides are true, with its loss (beta 1/9)."""
    ours: Any = detector(recipe("box_loss.beta=0.1111111111111111"))
    theirs, given = whole_model(ours), batch([(128, 192)], [4])
    their_targets = [{"boxes": each.boxes, "labels": each.labels + 1, "masks": each.masks} for each in given.targets]
    with torch.no_grad():
        found, expected = ours.eval().find(Images.padded(given.images))[0], theirs.eval()(given.images)[0]
        assert len(found.boxes) == 10
        torch.testing.assert_close(found.boxes, expected["boxes"])
        torch.testing.assert_close(found.scores, expected["scores"])
        assert found.labels.equal(expected["labels"] - 1)
        ours.train(), theirs.train()
        torch.manual_seed(5)
        torch.rand(())  # torchvision's model draws one of its training sizes first
        losses = ours.losses(Images.padded(given.images), given.targets)
        torch.manual_seed(5)
        expected_losses = theirs(given.images, their_targets)
    assert losses.keys() == expected_losses.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected_losses[name], msg=name)


def test_the_fifth_levels_anchors_are_64_px_apart_and_never_rounded() -> None:
    """A side of 96 px gives a fifth level of 2 cells: torchvision takes 48 px for their distance."""
    anchors = Anchors(((32,),) * 5, ((1.0,),) * 5)
    maps = [
        torch.zeros(1, 8, -(-96 // stride), -(-96 // stride), dtype=torch.bfloat16) for stride in (4, 8, 16, 32, 64)
    ]
    (found,) = anchors(type("One", (), {"image_sizes": [(96, 96)]})(), maps)
    assert found.dtype == torch.float32
    assert ((found[-4:, :2] + found[-4:, 2:]) / 2).tolist() == [[0, 0], [64, 0], [0, 64], [64, 64]]


@pytest.mark.parametrize("architecture", [SWIN, VIT])
@pytest.mark.parametrize(
    "overrides",
    [
        ["norm.fpn=BN", "norm.mask_head=BN", "box_head=4conv1fc", "norm.box_head=BN", "rpn_convs=2"],
        ["norm.fpn=GN", "norm.mask_head=GN", "box_head=4conv1fc", "norm.box_head=LN", "box_loss={kind: giou}"],
    ],
)
@pytest.mark.parametrize("objects", [[3, 0], [0, 0]])
def test_every_parameter_learns_even_from_pictures_of_nothing(
    architecture: Any, overrides: list[str], objects: list[int]
) -> None:
    """Otherwise DDP would wait for the gradient of a parameter for ever."""
    model = detector(recipe(*overrides), architecture).train()
    model.loss(batch([(90, 70), (61, 100)], objects)).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"maps.encoder.backbone.norm.weight", "maps.encoder.backbone.norm.bias"}


def test_autocast_keeps_boxes_in_fp32() -> None:
    model, given = detector(recipe()), batch([(96, 96)], [2])
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = model.find(Images.padded(given.images))
    assert (found.boxes.dtype, found.scores.dtype) == (torch.float32, torch.float32)
    coarse = found.boxes.bfloat16().float()
    assert not coarse.equal(found.boxes)


def test_without_masks_there_is_no_mask_head() -> None:
    model, given = detector(recipe(), masks=False), batch([(96, 96)], [2], masks=False)
    assert "loss_mask" not in model.train().losses(Images.padded(given.images), given.targets)
    with torch.inference_mode():
        assert model.eval().predict(given)[0].masks is None


def test_images_are_padded_below_and_to_the_right_with_the_mean_colour() -> None:
    images = Images.padded([torch.ones(3, 33, 64), torch.ones(3, 20, 10)])
    assert images.tensor.shape == (2, 3, 64, 64)
    assert images.sizes == [(33, 64), (20, 10)]
    assert images.tensor[1, 0].sum() == 200
    assert images.tensor[1, 0, :20, :10].all()


def test_images_are_padded_to_squares_where_the_recipe_says_so() -> None:
    images = Images.padded([torch.ones(3, 33, 64), torch.ones(3, 20, 10)], 96)
    assert images.tensor.shape == (2, 3, 96, 96)
    assert images.sizes == [(33, 64), (20, 10)]
    assert images.tensor.sum() == 3 * (33 * 64 + 20 * 10)
    model, given = detector(recipe(), VIT), batch([(96, 70)], [2])
    seen: list[torch.Size] = []
    model.maps.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    for model.square_px in (None, 128):
        with torch.inference_mode():
            model.eval().predict(given)
        model.train().loss(given)
    assert [tuple(shape[2:]) for shape in seen] == [(96, 96)] * 2 + [(128, 128)] * 2


@pytest.mark.parametrize("override", ["testing.longer_px=4000", "image_size_px=100"])
def test_squares_must_hold_every_image(override: str) -> None:
    small = ["augmentation={kind: lsj, size_px: 100}"] if override.startswith("image") else []
    with pytest.raises(UserError, match="pad_to_square needs image_size_px"):
        recipe("pad_to_square=true", override, *small)


def test_detections_are_given_in_the_files_own_pixels() -> None:
    found = Found(
        boxes=torch.tensor([[10.0, 5.0, 30.0, 25.0], [50.0, 0.0, 50.0, 9.0]]),
        scores=torch.tensor([0.9, 0.8]),
        labels=torch.tensor([3, 1]),
        masks=torch.ones(2, 28, 28),
    )
    scaled = at_own_size(found, (40, 60), target((40, 60), 1))  # of a file of 80x120
    assert scaled.boxes.tolist() == [[20, 10, 60, 50]], "a box without width is left out"
    assert scaled.labels.tolist() == [3]
    assert scaled.masks is not None
    assert scaled.masks[0]["size"] == [80, 120]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("heads=cascade_mask_rcnn", "needs engine=detectron2"),
        ("norm.box_head=GN fpn_channels=48", "multiple of GN's 32 groups"),
        ("image_size_px=128", "must be augmentation.size_px"),
        ("engine=mmdet", "engine = mmdet"),
    ],
)
def test_what_an_engine_cannot_do_is_said(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(*override.split())
