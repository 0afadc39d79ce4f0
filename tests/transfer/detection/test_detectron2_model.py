"""The detectron2 engine against detectron2's own models and tools, and against the torchvision engine.

They run where detectron2's sources are: `make test DETECTRON2=FOLDER`; elsewhere they are skipped.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.transfer.detection.coco import places
from tests.transfer.detection.detectors import CLASSES, SWIN, VIT, batch, detector, recipe, require_detectron2, target
from tests.transfer.encoder.witnesses import SIZES, copy, images
from transfer.detection.average_precision import average_precision
from transfer.detection.data.coco import Picture, read_coco
from transfer.detection.data.outlines import drawn
from transfer.detection.data.samples import Detections
from transfer.detection.models.box_masks import SharedMasks, encoded_masks
from transfer.detection.models.detector import Images, at_own_size

require_detectron2()

from detectron2.layers.mask_ops import paste_masks_in_image  # noqa: E402
from detectron2.modeling.backbone.swin import SwinTransformer  # noqa: E402
from detectron2.modeling.backbone.vit import ViT  # noqa: E402
from detectron2.modeling.postprocessing import detector_postprocess  # noqa: E402
from detectron2.structures import BitMasks, Boxes, ImageList, Instances  # noqa: E402
from pycocotools import mask as coco_masks  # noqa: E402

DETECTRON2 = "engine=detectron2"
CASCADE = (DETECTRON2, "heads=cascade_mask_rcnn")


def their_swin(ours: Any) -> nn.Module:
    """Return detectron2's Swin with our weights, copied by module."""
    swin = ours.maps.encoder.backbone
    theirs: Any = SwinTransformer(embed_dim=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], window_size=7).eval()
    copy(theirs.patch_embed.proj, swin.patch_embed.proj)
    copy(theirs.patch_embed.norm, swin.patch_embed.norm)
    for level, (stage, mine) in enumerate(zip(theirs.layers, swin.layers, strict=True)):
        copy(getattr(theirs, f"norm{level}"), ours.maps.norms[level])
        if level:  # theirs stands at the end of the stage before
            copy(theirs.layers[level - 1].downsample.norm, mine.downsample.norm)
            copy(theirs.layers[level - 1].downsample.reduction, mine.downsample.reduction)
        for block, own in zip(stage.blocks, mine.blocks, strict=True):
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2", "attn.qkv", "attn.proj"):
                copy(block.get_submodule(name), own.get_submodule(name))
            block.attn.relative_position_bias_table.data = own.attn.relative_position_bias_table.detach()
    return theirs


def furthest(found: list[Tensor], expected: list[Tensor]) -> float:
    assert [one.shape for one in found] == [one.shape for one in expected]
    return max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_detectron2s_own_swin_gives_the_same_maps_at_any_size(size: tuple[int, int]) -> None:
    ours = detector(recipe(DETECTRON2))
    given = images(*size)
    assert furthest(ours.maps(given), list(their_swin(ours)(given).values())) < 1e-5


@torch.inference_mode()
def test_detectron2s_own_swin_under_its_pyramid_gives_the_same_levels() -> None:
    """Sides are multiples of 32, as a batch's are, and of no window."""
    ours: Any = detector(recipe(DETECTRON2))
    given = images(96, 160)
    expected = ours.levels(given)
    ours.neck.bottom_up, ours.neck.in_features = their_swin(ours), ("p0", "p1", "p2", "p3")
    assert furthest(list(ours.neck(given).values()), expected) < 1e-5


@pytest.mark.parametrize("architecture", [SWIN, VIT])
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_both_engines_heads_see_the_same(architecture: Any, size: tuple[int, int]) -> None:
    """The maps that go into each pyramid network, and, with that network's weights, all that comes out of it."""
    pair: tuple[Any, Any] = (detector(recipe(), architecture), detector(recipe(DETECTRON2), architecture))
    one, other = pair
    given = Images.padded(list(images(*size))).tensor
    assert furthest(one.maps(given), other.maps(given)) < 1e-5
    if one.maps.pyramid is None:
        for level, (lateral, output) in enumerate(zip(one.neck.inner_blocks, one.neck.layer_blocks, strict=True)):
            for name, (convolution, norm) in (("lateral", lateral), ("output", output)):
                copy(getattr(other.neck, f"fpn_{name}{level + 2}").norm, norm)
                getattr(other.neck, f"fpn_{name}{level + 2}").weight.copy_(convolution.weight)
    assert furthest(one.levels(given), other.levels(given)) < 1e-5


@torch.inference_mode()
def test_squares_give_a_vit_the_positions_that_vitdet_gives_it() -> None:
    """ViTDet pads to the training square, for which the 14 x 14 positions of pretraining are resized once.

    Its ViT has no class token in its blocks, so neither has ours here.
    """
    arguments = {**VIT.arguments, "class_token": False, "global_pool": "avg", "fc_norm": False}
    ours: Any = detector(recipe(DETECTRON2), VIT.model_copy(update={"arguments": arguments}))
    sizes = {"img_size": 320, "embed_dim": 48, "depth": 2, "num_heads": 3}
    layer_norm = partial(nn.LayerNorm, eps=1e-6)
    theirs: Any = ViT(**sizes, pretrain_img_size=224, pretrain_use_cls_token=False, norm_layer=layer_norm).eval()
    weights = ours.maps.encoder.backbone.state_dict()
    theirs.load_state_dict({name: weights[name] for name in theirs.state_dict()})
    given = [torch.randn(3, 200, 310), torch.randn(3, 320, 150)]
    expected = ImageList.from_tensors(given, padding_constraints={"square_size": 320}).tensor
    found = Images.padded(given, 320).tensor
    assert found.equal(expected)
    assert furthest(ours.maps.encoder.features(found), list(theirs(expected).values())) < 1e-5

    alone, squared = Images.padded(given[:1]).tensor, Images.padded(given[:1], 320).tensor
    squeezed, right = (ours.maps.encoder.features(each)[0][:, :, :13, :20] for each in (alone, squared))
    assert float((squeezed - right).norm() / right.norm()) > 0.05, "positions squeezed to 224 x 320 px are other ones"


def test_both_engines_put_anchors_at_the_same_places() -> None:
    """torchvision rounds a cell's anchors to whole pixels."""
    one: Any = detector(recipe())
    other: Any = detector(recipe(DETECTRON2))
    levels = one.levels(torch.zeros(1, 3, 96, 160))
    listed = type("Listed", (), {"image_sizes": [(96, 160)]})()
    (found,) = one.rpn.anchor_generator(listed, levels)
    expected = torch.cat([each.tensor for each in other.rpn.anchor_generator(levels)])
    places = [sorted(each.round().tolist()) for each in (found, expected)]
    assert len(places[0]) == len(places[1])
    assert (torch.tensor(places[0]) - torch.tensor(places[1])).abs().max() <= 1


@pytest.mark.parametrize("loss", ["{kind: smooth_l1, beta: 0.1}", "{kind: smooth_l1, beta: 0.0}", "{kind: giou}"])
def test_both_engines_measure_boxes_alike(loss: str) -> None:
    one: Any = detector(recipe(f"box_loss={loss}"))
    other: Any = detector(recipe(DETECTRON2, f"box_loss={loss}"))
    proposals, truth = target((300, 400), 12).boxes, target((300, 400), 12).boxes + 3
    labels = torch.arange(12) % (CLASSES + 1)  # 0 is torchvision's background
    offsets = torch.randn(12, CLASSES + 1, 4)
    goals = one.heads.box_coder.encode([truth], [proposals])[0]
    found = one.heads._box_loss(offsets.flatten(1), [proposals], labels, goals)
    their_labels = torch.where(labels == 0, CLASSES, labels - 1)
    predictor = other.heads.box_predictor
    expected = predictor.box_reg_loss(proposals, truth, offsets[:, 1:].flatten(1), their_labels)
    torch.testing.assert_close(found, expected * predictor.loss_weight["loss_box_reg"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", [SWIN, VIT])
@pytest.mark.parametrize("heads", [(DETECTRON2,), CASCADE])
@pytest.mark.parametrize(
    "overrides",
    [
        ["norm.fpn=BN", "norm.mask_head=BN", "box_head=4conv1fc", "norm.box_head=BN", "rpn_convs=2"],
        ["norm.fpn=GN", "norm.mask_head=SyncBN", "box_head=4conv1fc", "norm.box_head=SyncBN", "box_loss={kind: giou}"],
    ],
)
@pytest.mark.parametrize("objects", [[3, 0], [0, 0]])
def test_every_parameter_learns_even_from_pictures_of_nothing(
    architecture: Any, heads: tuple[str, ...], overrides: list[str], objects: list[int]
) -> None:
    model = detector(recipe(*heads, *overrides), architecture).train()
    model.loss(batch([(90, 70), (61, 100)], objects)).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_the_cascade_has_three_stages_of_its_papers_overlaps_and_weights() -> None:
    from detectron2.config import get_cfg

    heads: Any = detector(recipe(*CASCADE)).heads
    config = get_cfg().MODEL.ROI_BOX_CASCADE_HEAD
    assert [matcher.thresholds[1] for matcher in heads.proposal_matchers] == list(config.IOUS)
    weights = [predictor.box2box_transform.weights for predictor in heads.box_predictor]
    assert weights == [tuple(each) for each in config.BBOX_REG_WEIGHTS]
    assert all(predictor.bbox_pred.out_features == 4 for predictor in heads.box_predictor), "one box for all classes"


@torch.inference_mode()
def test_detections_at_the_files_size_are_those_of_detectron2s_postprocessing() -> None:
    model: Any = detector(recipe(DETECTRON2))
    given = batch([(90, 70)], [2])
    (found,) = model.find(Images.padded(given.images))
    ours = at_own_size(found, (90, 70), given.targets[0])
    listed = Instances((90, 70), pred_boxes=Boxes(found.boxes.clone()), scores=found.scores, pred_classes=found.labels)
    listed.pred_masks = found.masks[:, None]
    theirs = detector_postprocess(listed, 180, 140)
    torch.testing.assert_close(ours.boxes, theirs.pred_boxes.tensor)
    assert ours.labels.equal(theirs.pred_classes)
    pixels = np.stack([coco_masks.decode(each) for each in ours.masks or []]).astype(bool)
    assert (pixels == theirs.pred_masks.numpy()).all()


def test_masks_are_pasted_as_detectron2_pastes_them() -> None:
    torch.manual_seed(4)
    boxes = torch.tensor(
        [[10.3, 5.6, 40.2, 33.1], [-0.0, 0.0, 80.0, 60.0], [70.5, 50.2, 79.9, 59.8], [3.2, 3.4, 3.9, 9]]
    )
    masks = torch.rand(4, 28, 28)
    expected = paste_masks_in_image(masks, boxes, (60, 80)).numpy()
    found = np.stack([coco_masks.decode(each) for each in encoded_masks(masks, boxes, (60, 80))]).astype(bool)
    assert (found == expected).all()
    assert expected[0].any()


def test_shared_masks_are_cut_as_detectron2s_own() -> None:
    objects = target((90, 70), 3)
    assert objects.masks is not None
    rows = torch.tensor([2, 0, 0, 2, 1])
    boxes = objects.boxes[rows] + torch.tensor([-3.0, 2.0, 4.0, 1.0])
    found = SharedMasks(objects.masks)[rows].crop_and_resize(boxes, 28)
    assert found.equal(BitMasks(objects.masks)[rows].crop_and_resize(boxes, 28))
    assert 0 < found.float().mean() < 1


def test_detectron2s_evaluator_gives_the_same_scores_for_the_same_detections(digit_boxes: Path, tmp_path: Path) -> None:
    """Jittered truth, with some objects missed, some doubled and some of another class."""
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets import register_coco_instances
    from detectron2.evaluation import COCOEvaluator

    sets = read_coco(places(digit_boxes))
    pictures = sets.test[:20]
    document = json.loads((digit_boxes / "annotations" / "instances_test.json").read_text())
    kept = {picture.id for picture in pictures}
    document["images"] = [each for each in document["images"] if each["id"] in kept]
    document["annotations"] = [each for each in document["annotations"] if each["image_id"] in kept]
    (tmp_path / "truth.json").write_text(json.dumps(document))
    register_coco_instances("digit_boxes_test", {}, str(tmp_path / "truth.json"), str(sets.root))
    DatasetCatalog.get("digit_boxes_test")  # notes the ids of categories
    evaluator = COCOEvaluator("digit_boxes_test", ("bbox", "segm"), distributed=False, use_fast_impl=False)
    evaluator.reset()
    detections = [_jittered(picture) for picture in pictures]
    try:
        for each in detections:
            found = Instances((64, 64), pred_boxes=Boxes(each.boxes), scores=each.scores, pred_classes=each.labels)
            found.pred_masks = torch.from_numpy(np.stack([coco_masks.decode(mask) for mask in each.masks or []]))
            evaluator.process([{"image_id": each.image_id}], [{"instances": found}])
        expected = evaluator.evaluate()
    finally:
        DatasetCatalog.remove("digit_boxes_test")
        MetadataCatalog.remove("digit_boxes_test")
    for kind, name in (("box", "bbox"), ("mask", "segm")):
        metrics = average_precision(pictures, sets.categories, detections, kind).metrics()
        for ours, theirs in (("ap", "AP"), ("ap50", "AP50"), ("ap75", "AP75"), ("ap_small", "APs")):
            assert metrics[f"{kind}_{ours}"] == pytest.approx(expected[name][theirs], abs=1e-9)
        assert 10 < metrics[f"{kind}_ap"] < 90


def _jittered(picture: Picture) -> Detections:
    draw = np.random.RandomState(picture.id)
    truth = [each for each in picture.annotations for _ in range(draw.choice([0, 1, 2], p=[0.1, 0.7, 0.2]))]
    truth = truth or [picture.annotations[0]]
    boxes = torch.tensor([each.box_xyxy for each in truth]) + torch.from_numpy(draw.normal(0, 1.5, (len(truth), 4)))
    labels = torch.tensor([each.category if draw.rand() < 0.9 else 0 for each in truth])
    masks = [drawn(each.segmentation, 64, 64) for each in truth if each.segmentation is not None]
    moved = [coco_masks.encode(np.asfortranarray(np.roll(mask, draw.randint(0, 2), axis=1))) for mask in masks]
    return Detections(picture.id, boxes.float(), torch.from_numpy(draw.rand(len(truth))).float(), labels, moved)
