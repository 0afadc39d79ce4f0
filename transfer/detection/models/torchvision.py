"""Mask R-CNN from torchvision's parts, on one of our encoders.

torchvision's own MaskRCNN normalises and resizes images itself, which is done already when they come here, and has only
one loss for boxes. Its RoIAlign samples at pixel corners (detectron2's at centres), and its region proposal network has
a smooth L1 loss of beta 1/9 (detectron2's is L1).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_inference, maskrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign, generalized_box_iou_loss
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from transfer.detection.data.samples import Target
from transfer.detection.models.detector import Detector, Found, Images
from transfer.detection.models.norms import norm_layer
from transfer.detection.recipe import LEVEL_STRIDES_PX, BoxLoss, GIoU, TrainedDetectionRecipe
from transfer.encoder.head_maps import HeadMaps

POOLED = ["0", "1", "2", "3"]
"""Names of the levels from which the heads pool boxes; the fifth level is only for the region proposal network."""
BOX_SIDE, MASK_SIDE = 7, 14


class TorchvisionDetector(Detector):
    """A Faster or Mask R-CNN of torchvision's parts."""

    def __init__(self, recipe: TrainedDetectionRecipe, maps: HeadMaps, num_classes: int, masks: bool) -> None:
        """Build the parts. `recipe.norm` is used as it is, so `norms.on_device` must have been applied before."""
        super().__init__()
        self.maps = maps
        self.neck = _neck(recipe, maps)
        self.rpn = _proposal_network(recipe)
        self.heads = Heads(recipe, num_classes, masks)
        for module in (self.rpn.head, self.heads.box_predictor, self.heads.mask_predictor):
            if module is not None:
                module.register_forward_hook(_in_fp32)

    def levels(self, images: Tensor) -> list[Tensor]:
        return list(self._levels(images).values())

    def _levels(self, images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.neck(OrderedDict(zip(POOLED, self.maps(images), strict=True)))
        return found

    def losses(self, images: Images, targets: list[Target]) -> dict[str, Tensor]:
        levels, truth = self._levels(images.tensor), [_as_torchvision(target) for target in targets]
        proposals, losses = self.rpn(ImageList(images.tensor, images.sizes), levels, truth)
        _, found = self.heads(levels, proposals, images.sizes, truth)
        return {**losses, **found}

    def find(self, images: Images) -> list[Found]:
        levels = self._levels(images.tensor)
        proposals, _ = self.rpn(ImageList(images.tensor, images.sizes), levels)
        found, _ = self.heads(levels, proposals, images.sizes)
        return [
            Found(each["boxes"], each["scores"], each["labels"] - 1, each["masks"][:, 0] if "masks" in each else None)
            for each in found
        ]


def _as_torchvision(target: Target) -> dict[str, Tensor]:
    """Return a target as torchvision wants it: its class 0 is the background."""
    found = {"boxes": target.boxes, "labels": target.labels + 1}
    return found if target.masks is None else {**found, "masks": target.masks}


def _in_fp32(_module: nn.Module, _arguments: Any, output: Any) -> Any:
    """Return a head's output in fp32, also under autocast: a bf16 box far from the origin is off by pixels."""
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(_in_fp32(_module, _arguments, each) for each in output)


class SubsampledTop(nn.Module):
    """Adds the fifth level to four maps that need no pyramid network."""

    def __init__(self) -> None:
        super().__init__()
        self.top = LastLevelMaxPool()

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the maps with one more, of half the last one's size."""
        found, names = self.top(list(maps.values()), [], list(maps))
        return OrderedDict(zip(names, found, strict=True))


def _neck(recipe: TrainedDetectionRecipe, maps: HeadMaps) -> nn.Module:
    if maps.pyramid is not None:
        return SubsampledTop()
    network: nn.Module = FeaturePyramidNetwork(
        list(maps.channels), recipe.fpn_channels, LastLevelMaxPool(), norm_layer(recipe.norm.fpn)
    )
    return network


class Anchors(AnchorGenerator):  # type: ignore[misc]  # torchvision is not typed
    """Anchors at the levels' true strides, in fp32.

    torchvision divides the image's side by the map's, which is not the stride of a fifth level of odd size, and takes
    the maps' precision: in bf16, positions beyond 256 px are rounded to pairs of pixels and more.
    """

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return the anchors [A, 4] xyxy of each image, in px."""
        device = feature_maps[0].device
        self.set_cell_anchors(torch.float32, device)
        strides = [[torch.tensor(stride, device=device)] * 2 for stride in LEVEL_STRIDES_PX]
        anchors = torch.cat(self.grid_anchors([each.shape[-2:] for each in feature_maps], strides))
        return [anchors] * len(image_list.image_sizes)


def _proposal_network(recipe: TrainedDetectionRecipe) -> RegionProposalNetwork:
    sizes = tuple((size,) for size in recipe.anchors.sizes_px)
    proposals = recipe.proposals
    return RegionProposalNetwork(
        Anchors(sizes, (recipe.anchors.ratios,) * len(sizes)),
        RPNHead(recipe.fpn_channels, len(recipe.anchors.ratios), recipe.rpn_convs),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=proposals.anchors_per_image,
        positive_fraction=0.5,
        pre_nms_top_n={"training": proposals.before_nms_training, "testing": proposals.before_nms_testing},
        post_nms_top_n={"training": proposals.kept_training, "testing": proposals.kept_testing},
        nms_thresh=proposals.nms_iou,
    )


class Heads(RoIHeads):  # type: ignore[misc]
    """torchvision's heads with the recipe's loss for boxes."""

    def __init__(self, recipe: TrainedDetectionRecipe, num_classes: int, masks: bool) -> None:
        super().__init__(
            MultiScaleRoIAlign(POOLED, BOX_SIDE, sampling_ratio=2),
            _box_head(recipe),
            FastRCNNPredictor(recipe.box_head_channels, num_classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=recipe.proposals.per_image,
            positive_fraction=0.25,
            bbox_reg_weights=None,  # torchvision's own: 10, 10, 5, 5
            score_thresh=recipe.testing.score_threshold,
            nms_thresh=recipe.testing.nms_iou,
            detections_per_img=recipe.testing.detections_per_image,
        )
        self.box_loss: BoxLoss = recipe.box_loss
        if masks:
            channels = recipe.fpn_channels
            self.mask_roi_pool = MultiScaleRoIAlign(POOLED, MASK_SIDE, sampling_ratio=2)
            self.mask_head = MaskRCNNHeads(channels, [channels] * 4, 1, norm_layer(recipe.norm.mask_head))
            self.mask_predictor = MaskRCNNPredictor(channels, channels, num_classes + 1)

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections and losses: in evaluation mode the losses are empty, in training mode the detections."""
        if self.training:
            return [], self._losses(features, proposals, image_shapes, targets)
        logits, offsets = self._boxes(features, proposals, image_shapes)
        boxes, scores, labels = self.postprocess_detections(logits, offsets, proposals, image_shapes)
        found = [
            {"boxes": box, "scores": score, "labels": label}
            for box, score, label in zip(boxes, scores, labels, strict=True)
        ]
        if self.has_mask():
            masks = maskrcnn_inference(self._masks(features, boxes, image_shapes), labels)
            found = [{**each, "masks": mask} for each, mask in zip(found, masks, strict=True)]
        return found, {}

    def _boxes(self, features: dict[str, Tensor], proposals: list[Tensor], sizes: Any) -> tuple[Tensor, Tensor]:
        logits, offsets = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, sizes)))
        return logits, offsets

    def _masks(self, features: dict[str, Tensor], boxes: list[Tensor], sizes: Any) -> Tensor:
        logits: Tensor = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, sizes)))
        return logits

    def _losses(
        self, features: dict[str, Tensor], proposals: list[Tensor], sizes: Any, targets: Any
    ) -> dict[str, Tensor]:
        proposals, matched, labels, goals = self.select_training_samples(proposals, targets)
        logits, offsets = self._boxes(features, proposals, sizes)
        every_label = torch.cat(labels)
        losses = {
            "loss_classifier": cross_entropy(logits, every_label),
            "loss_box_reg": self._box_loss(offsets, proposals, every_label, torch.cat(goals)),
        }
        if self.has_mask():
            objects = [found > 0 for found in labels]
            boxes, rows = ([each[at] for each, at in zip(of, objects, strict=True)] for of in (proposals, matched))
            masks, classes = ([target[name] for target in targets] for name in ("masks", "labels"))
            losses["loss_mask"] = maskrcnn_loss(self._masks(features, boxes, sizes), boxes, masks, classes, rows)
        return losses

    def _box_loss(self, offsets: Tensor, proposals: list[Tensor], labels: Tensor, goals: Tensor) -> Tensor:
        """Return the loss of the proposals that are objects, divided by the number of all proposals."""
        rows = torch.where(labels > 0)[0]
        own = offsets.view(len(offsets), -1, 4)[rows, labels[rows]]
        loss = self.box_loss
        if isinstance(loss, GIoU):
            base = torch.cat(proposals)[rows]
            boxes, wanted = (self.box_coder.decode_single(each, base) for each in (own, goals[rows]))
            total: Tensor = generalized_box_iou_loss(boxes, wanted, reduction="sum")
        else:
            total = smooth_l1_loss(own, goals[rows], beta=loss.beta, reduction="sum")
        return loss.weight * total / labels.numel()


def _box_head(recipe: TrainedDetectionRecipe) -> nn.Module:
    channels, width = recipe.fpn_channels, recipe.box_head_channels
    if recipe.box_head == "2fc":
        head: nn.Module = TwoMLPHead(channels * BOX_SIDE**2, width)
        return head
    shape, layer = (channels, BOX_SIDE, BOX_SIDE), norm_layer(recipe.norm.box_head)
    convolutions: nn.Module = FastRCNNConvFCHead(shape, [channels] * 4, [width], layer)
    return convolutions
