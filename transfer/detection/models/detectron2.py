"""Mask R-CNN and Cascade Mask R-CNN from detectron2's parts, on one of our encoders.

The parts are built by their constructors, without detectron2's configuration system; where a recipe has no field for a
value, it is that of detectron2's own `configs/common/models`. Images are normalised and RGB when they come here.
"""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone import FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from transfer.detection.data.samples import Target
from transfer.detection.models.box_masks import SharedMasks
from transfer.detection.models.detector import Detector, Found, Images
from transfer.detection.models.norms import norm_layer
from transfer.detection.recipe import LEVEL_STRIDES_PX, GIoU, Norm, TrainedDetectionRecipe
from transfer.encoder.head_maps import HeadMaps

LEVELS = ["p2", "p3", "p4", "p5", "p6"]
MAPS = ["c2", "c3", "c4", "c5"]
"""Names of the encoder's maps, unlike LEVELS, since the pyramid network would subsample a map of the same name."""
POOLED, POOLED_SCALES = LEVELS[:4], [1 / stride for stride in LEVEL_STRIDES_PX[:4]]
BOX_SIDE, MASK_SIDE = 7, 14
CASCADE = ((0.5, (10.0, 10.0, 5.0, 5.0)), (0.6, (20.0, 20.0, 10.0, 10.0)), (0.7, (30.0, 30.0, 15.0, 15.0)))
"""For each stage, the IoU that makes a proposal an object, and the weights of its four offsets (arXiv:1712.00726)."""


class Detectron2Detector(Detector):
    """A Faster, Mask or Cascade Mask R-CNN of detectron2's parts."""

    def __init__(self, recipe: TrainedDetectionRecipe, maps: HeadMaps, num_classes: int, masks: bool) -> None:
        """Build the parts. `recipe.norm` is used as it is, so `norms.on_device` must have been applied before."""
        super().__init__()
        self.maps = maps
        self.neck = _neck(recipe, maps)
        self.rpn = _proposal_network(recipe)
        self.heads = (_mask_rcnn if recipe.heads == "mask_rcnn" else _cascade)(recipe, num_classes, masks)

    def levels(self, images: Tensor) -> list[Tensor]:
        return list(self._levels(images).values())

    def _levels(self, images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.neck(self.maps(images))
        return found

    def losses(self, images: Images, targets: list[Target]) -> dict[str, Tensor]:
        truth = [_as_instances(target, size) for target, size in zip(targets, images.sizes, strict=True)]
        listed, levels = ImageList(images.tensor, images.sizes), self._levels(images.tensor)
        with EventStorage():  # detectron2 notes its statistics there
            proposals, losses = self.rpn(listed, levels, truth)
            _, found = self.heads(listed, levels, proposals, truth)
        return {**losses, **found}

    def find(self, images: Images) -> list[Found]:
        listed, levels = ImageList(images.tensor, images.sizes), self._levels(images.tensor)
        proposals, _ = self.rpn(listed, levels, None)
        instances, _ = self.heads(listed, levels, proposals, None)
        return [Found(each.pred_boxes.tensor, each.scores, each.pred_classes, _masks_of(each)) for each in instances]


def _as_instances(target: Target, size: tuple[int, int]) -> Any:
    found = Instances(size, gt_boxes=Boxes(target.boxes), gt_classes=target.labels)
    if target.masks is not None:
        found.gt_masks = SharedMasks(target.masks)
    return found


def _masks_of(instances: Any) -> Tensor | None:
    masks: Tensor | None = instances.pred_masks[:, 0] if instances.has("pred_masks") else None
    return masks


class Maps(Backbone):  # type: ignore[misc]  # detectron2 is not typed
    """The backbone that detectron2's pyramid network asks for: it passes on maps that are computed already."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        return dict(zip(MAPS, maps, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        shapes = zip(MAPS, self.channels, LEVEL_STRIDES_PX, strict=False)
        return {name: ShapeSpec(channels=channels, stride=stride) for name, channels, stride in shapes}


class SubsampledTop(nn.Module):
    """Adds the fifth level to four maps that need no pyramid network."""

    def __init__(self) -> None:
        super().__init__()
        self.top = LastLevelMaxPool()

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """Return the maps with one more, of half the last one's size."""
        return dict(zip(LEVELS, [*maps, *self.top(maps[-1])], strict=True))


def _neck(recipe: TrainedDetectionRecipe, maps: HeadMaps) -> nn.Module:
    if maps.pyramid is not None:
        return SubsampledTop()
    network: nn.Module = FPN(Maps(maps.channels), MAPS, recipe.fpn_channels, _norm(recipe.norm.fpn), LastLevelMaxPool())
    return network


def _norm(norm: Norm) -> Any:
    """Return a norm as detectron2's layers take it: by a name of theirs, or as a function that makes the layer.

    SyncBN is detectron2's own, which works in a process whose images have no object at all.
    """
    return "naiveSyncBN_N" if norm == "SyncBN" else norm_layer(norm) or ""


def _proposal_network(recipe: TrainedDetectionRecipe) -> RPN:
    proposals = recipe.proposals
    return RPN(
        in_features=LEVELS,
        head=StandardRPNHead(
            in_channels=recipe.fpn_channels, num_anchors=len(recipe.anchors.ratios), conv_dims=[-1] * recipe.rpn_convs
        ),
        anchor_generator=DefaultAnchorGenerator(
            sizes=[[size] for size in recipe.anchors.sizes_px],
            aspect_ratios=list(recipe.anchors.ratios),
            strides=list(LEVEL_STRIDES_PX),
            offset=0.0,
        ),
        anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        batch_size_per_image=proposals.anchors_per_image,
        positive_fraction=0.5,
        pre_nms_topk=(proposals.before_nms_training, proposals.before_nms_testing),
        post_nms_topk=(proposals.kept_training, proposals.kept_testing),
        nms_thresh=proposals.nms_iou,
    )


def _mask_rcnn(recipe: TrainedDetectionRecipe, num_classes: int, masks: bool) -> StandardROIHeads:
    iou, weights = CASCADE[0]
    return StandardROIHeads(
        box_head=_box_head(recipe),
        box_predictor=_box_predictor(recipe, num_classes, weights, class_agnostic=False),
        proposal_matcher=_matcher(iou),
        **_shared(recipe, num_classes, masks),
    )


def _cascade(recipe: TrainedDetectionRecipe, num_classes: int, masks: bool) -> CascadeROIHeads:
    return CascadeROIHeads(
        box_heads=[_box_head(recipe) for _ in CASCADE],
        box_predictors=[_box_predictor(recipe, num_classes, weights, class_agnostic=True) for _, weights in CASCADE],
        proposal_matchers=[_matcher(iou) for iou, _ in CASCADE],
        **_shared(recipe, num_classes, masks),
    )


def _shared(recipe: TrainedDetectionRecipe, num_classes: int, masks: bool) -> dict[str, Any]:
    """Return the arguments that both kinds of heads take, with a mask head where `masks` is True."""
    found = {
        "num_classes": num_classes,
        "batch_size_per_image": recipe.proposals.per_image,
        "positive_fraction": 0.25,
        "box_in_features": POOLED,
        "box_pooler": _pooler(BOX_SIDE),
    }
    if not masks:
        return found
    channels = recipe.fpn_channels
    head = MaskRCNNConvUpsampleHead(
        ShapeSpec(channels=channels, width=MASK_SIDE, height=MASK_SIDE),
        num_classes=num_classes,
        conv_dims=[channels] * 5,
        conv_norm=_norm(recipe.norm.mask_head),
    )
    return {**found, "mask_in_features": POOLED, "mask_pooler": _pooler(MASK_SIDE), "mask_head": head}


def _pooler(side: int) -> ROIPooler:
    return ROIPooler(side, scales=POOLED_SCALES, sampling_ratio=0, pooler_type="ROIAlignV2")


def _matcher(iou: float) -> Matcher:
    return Matcher([iou], [0, 1], allow_low_quality_matches=False)


def _box_head(recipe: TrainedDetectionRecipe) -> FastRCNNConvFCHead:
    channels, width = recipe.fpn_channels, recipe.box_head_channels
    convolutions, layers = ([], [width] * 2) if recipe.box_head == "2fc" else ([channels] * 4, [width])
    shape = ShapeSpec(channels=channels, width=BOX_SIDE, height=BOX_SIDE)
    return FastRCNNConvFCHead(shape, conv_dims=convolutions, fc_dims=layers, conv_norm=_norm(recipe.norm.box_head))


def _box_predictor(
    recipe: TrainedDetectionRecipe, num_classes: int, weights: tuple[float, ...], *, class_agnostic: bool
) -> FastRCNNOutputLayers:
    loss, testing = recipe.box_loss, recipe.testing
    return FastRCNNOutputLayers(
        ShapeSpec(channels=recipe.box_head_channels),
        box2box_transform=Box2BoxTransform(weights=weights),
        num_classes=num_classes,
        test_score_thresh=testing.score_threshold,
        test_nms_thresh=testing.nms_iou,
        test_topk_per_image=testing.detections_per_image,
        cls_agnostic_bbox_reg=class_agnostic,
        smooth_l1_beta=0.0 if isinstance(loss, GIoU) else loss.beta,
        box_reg_loss_type=loss.kind,
        loss_weight={"loss_box_reg": loss.weight},
    )
