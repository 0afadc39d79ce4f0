"""Boxes and masks follow their image: objects are painted in colours of their own and found again by colour."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from transfer.detection.data.augment import augment_of, fitted
from transfer.detection.data.recipe import DetectionAugmentation, LargeScaleJitter, MultiScale
from transfer.detection.data.view import View

COLOURS = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
GREY, FILL = 60, (99, 99, 99)
HALF_COLOUR = (255 - GREY) // 2


def painted(height: int = 120, width: int = 160) -> View:
    """Three rectangles, the third one over a part of the second."""
    image = torch.full((3, height, width), GREY, dtype=torch.uint8)
    masks = torch.zeros(3, height, width, dtype=torch.bool)
    for number, (top, left, bottom, right) in enumerate(((10, 20, 50, 70), (60, 40, 110, 100), (80, 80, 100, 150))):
        masks[:, top:bottom, left:right] = False
        masks[number, top:bottom, left:right] = True
        image[:, top:bottom, left:right] = COLOURS[number].view(3, 1, 1)
    boxes = torch.tensor([[20.0, 10, 70, 50], [40, 60, 100, 110], [80, 80, 150, 100]])
    return View(image, boxes, torch.arange(3), masks)


def seen(image: Tensor, label: int) -> Tensor:
    """Return where an object's colour prevails [H, W]: at edges, which resizing blurs, down to half of it."""
    coloured = image.int().amax(dim=0) - image.int().amin(dim=0) > HALF_COLOUR
    return coloured & (image.argmax(dim=0) == label)


def agree(one: Tensor, other: Tensor) -> bool:
    """Return whether two regions [H, W] differ by at most two pixels along their edges, but for a few pixels."""

    def grown(region: Tensor) -> Tensor:
        return max_pool2d(region[None].float(), 5, 1, 2)[0] > 0

    return int((one & ~grown(other)).sum() + (other & ~grown(one)).sum()) <= 6


@pytest.mark.parametrize(
    "augmentation",
    [
        LargeScaleJitter(size_px=200, scale=(0.2, 4.0)),
        LargeScaleJitter(size_px=200, scale=(1.5, 2.0), copy_paste=1.0),
        MultiScale(shorter_px=(100, 150), longer_px=190, crop_shorter_px=(110, 140), crop_px=(60, 90), crop=0.7),
    ],
)
def test_targets_lie_where_the_objects_are(augmentation: DetectionAugmentation) -> None:
    augment, counts = augment_of(augmentation, FILL), set()
    for seed in range(40):
        torch.manual_seed(seed)
        view = augment(painted(), lambda: painted().keep(torch.tensor([True, False, False])))
        assert view.masks is not None
        counts.add(len(view.labels))
        assert view.masks.shape == (len(view.labels), *view.size)
        assert view.masks.int().sum(dim=0).amax() <= 1, "no pixel belongs to two objects"
        for label in range(3):
            mask = view.masks[view.labels == label].any(dim=0)
            assert agree(mask, seen(view.image, label))
        for box, mask in zip(view.boxes, view.masks, strict=True):
            rows, columns = mask.nonzero(as_tuple=True)
            around = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (box - around).abs().max() <= 1.5, "a box is the smallest around its visible mask"
    assert len(counts) > 1, "some objects were cut off or hidden"


def test_jitter_gives_squares_padded_to_the_right_and_below() -> None:
    augment, scales = augment_of(LargeScaleJitter(size_px=128, scale=(0.1, 0.9)), FILL), []
    for seed in range(60):
        torch.manual_seed(seed)
        view = augment(painted(100, 200), painted)
        assert view.size == (128, 128)
        padding = (view.image == torch.tensor(FILL, dtype=torch.uint8).view(3, 1, 1)).all(dim=0)
        width = int((~padding[0]).sum())
        height = int((~padding[:, 0]).sum())
        assert padding.sum() == 128 * 128 - width * height
        assert abs(height - width / 2) <= 1, "the image keeps its shape"
        scales.append(width / 128)
    assert 0.09 < min(scales) < 0.2
    assert 0.8 < max(scales) < 0.91


def test_jitter_at_scale_one_without_flip_changes_nothing() -> None:
    before = painted(128, 128)
    after = augment_of(LargeScaleJitter(size_px=128, scale=(1, 1), horizontal_flip=0), FILL)(before, painted)
    assert torch.equal(after.image, before.image)
    assert torch.equal(after.boxes, before.boxes)


def test_multi_scale_keeps_its_lengths() -> None:
    augment, shorter = augment_of(MultiScale(shorter_px=(96, 128), longer_px=200, crop=0.0), FILL), set()
    for seed in range(30):
        torch.manual_seed(seed)
        view = augment(painted(120, 160), painted)
        assert view.size in {(96, 128), (128, 171)}
        shorter.add(min(view.size))
    assert shorter == {96, 128}


@pytest.mark.parametrize(
    ("size", "shorter", "longer", "expected"),
    [  # what detectron2's ResizeShortestEdge.get_output_shape returns
        ((480, 640), 800, 1333, (800, 1067)),
        ((640, 427), 800, 1333, (1199, 800)),
        ((400, 1000), 800, 1333, (533, 1333)),
        ((1, 500), 800, 1333, (3, 1333)),
        ((333, 500), 1024, 1024, (682, 1024)),
        ((480, 640), 400, None, (400, 533)),
    ],
)
def test_sizes_are_detectron2s(
    size: tuple[int, int], shorter: int, longer: int | None, expected: tuple[int, int]
) -> None:
    assert fitted(size, shorter, longer) == expected


def test_mirroring_twice_is_nothing_and_once_turns_boxes() -> None:
    view = painted()
    once, twice = view.mirrored(), view.mirrored().mirrored()
    assert once.boxes[0].tolist() == [160 - 70, 10, 160 - 20, 50]
    assert torch.equal(twice.image, view.image)
    assert torch.equal(twice.boxes, view.boxes)
    assert once.masks is not None
    assert torch.equal(once.masks, torch.stack([seen(once.image, label) for label in range(3)]))


def test_pasting_hides_cuts_and_drops_what_lies_below() -> None:
    view, other = painted(), painted()
    assert other.masks is not None
    moved = View(other.image.clone(), other.boxes[:1].clone(), torch.tensor([2]), torch.zeros_like(other.masks[:1]))
    assert moved.masks is not None
    moved.masks[0, 5:55, 15:75] = True  # all of object 0
    moved.masks[0, 60:110, 40:70] = True  # the left half of object 1
    moved.image[:, moved.masks[0]] = 200
    pasted = view.with_pasted(moved)
    assert pasted.labels.tolist() == [1, 2, 2], "object 0 is hidden; objects 1 and 2, and what was pasted, remain"
    assert pasted.boxes[0].tolist() == [70, 60, 100, 110]
    assert pasted.boxes[1].tolist() == [80, 80, 150, 100]
    assert pasted.masks is not None
    assert torch.equal(pasted.masks[2], moved.masks[0])
    assert not (pasted.masks[:2] & moved.masks[0]).any()
    assert (pasted.image[:, moved.masks[0]] == 200).all()
    assert torch.equal(pasted.image[:, ~moved.masks[0]], view.image[:, ~moved.masks[0]])


def test_crops_drop_objects_outside_and_cut_boxes_without_masks_at_the_edge() -> None:
    view = painted()
    cut = View(view.image, view.boxes, view.labels, None).cropped(20, 30, (60, 90))
    assert cut.labels.tolist() == [0, 1], "of the third, nothing is left"
    assert cut.boxes.tolist() == [[0, 0, 40, 30], [10, 40, 70, 60]]
    assert torch.equal(cut.image, view.image[:, 20:80, 30:120])
