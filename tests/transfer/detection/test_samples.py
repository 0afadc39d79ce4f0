"""Detection samples: the same for any number of workers, whole targets, unusable files named and replaced."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD, Normalisation
from benchmarks.engine.samples.loaders import SampleKey, StepBatches, evaluation_loader, training_loader
from benchmarks.engine.samples.unreadable import UnusableError
from benchmarks.errors import UserError
from tests.support.huge_pictures import put_huge
from tests.support.special_files import never_waiting, put, special_files
from tests.transfer.detection.coco import SmallCoco, annotation, places
from transfer.detection.data import recipe as data_recipe
from transfer.detection.data.coco import Picture, read_coco
from transfer.detection.data.recipe import DetectionAugmentation, LargeScaleJitter, MultiScale
from transfer.detection.data.samples import EvaluationPictures, PictureBatch, TrainingPictures, read_view

NORMALISATION = Normalisation(IMAGENET_MEAN, IMAGENET_STD)
JITTER = LargeScaleJitter(size_px=64, copy_paste=0.5)
SCALES = MultiScale(shorter_px=(48, 64), longer_px=96, crop_shorter_px=(64, 80), crop_px=(32, 64))
AS_IT_IS = LargeScaleJitter(size_px=80, scale=(1, 1), horizontal_flip=0)


def samples(
    pictures: list[Picture], augmentation: DetectionAugmentation = AS_IT_IS, masks: bool = True, patience: int = 3
) -> TrainingPictures:
    return TrainingPictures(pictures, augmentation, NORMALISATION, 5, patience, masks)


def same(one: PictureBatch, other: PictureBatch) -> bool:
    tensors = [
        [*batch.images, *(value for target in batch.targets for value in (target.boxes, target.labels, target.masks))]
        for batch in (one, other)
    ]
    return len(tensors[0]) == len(tensors[1]) and all(map(torch.equal, *tensors))


@pytest.mark.parametrize("augmentation", [JITTER, SCALES])
def test_workers_and_the_order_of_asking_change_nothing(digit_boxes: Path, augmentation: DetectionAugmentation) -> None:
    pictures = read_coco(places(digit_boxes)).train[:12]
    alone, helped = (
        list(training_loader(samples(pictures, augmentation), StepBatches(12, 4, 6, 0, 5), workers, False))
        for workers in (0, 2)
    )
    assert len(alone) == len(helped) == 6
    assert all(map(same, alone, helped))
    asked = samples(pictures, augmentation)
    later = [asked[SampleKey(7, epoch)] for epoch in (1, 0, 1)]
    assert same(asked.collate(later[:1]), asked.collate(later[2:]))
    assert not same(asked.collate(later[:1]), asked.collate(later[1:2])), "another epoch, another augmentation"


def test_a_target_holds_every_object_and_no_crowd(small_coco: SmallCoco) -> None:
    from pycocotools.coco import COCO

    found = read_coco(small_coco.data)
    batch = samples(found.train).collate([samples(found.train)[SampleKey(0, 0)]])
    (image,), (target,) = batch.images, batch.targets
    witness = COCO(str(small_coco.annotations("train")))
    pixels = torch.from_numpy(np.array(Image.open(small_coco.image("train", 1)))).permute(2, 0, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.allclose(image[:, :60], (pixels / 255 - mean) / std, atol=1e-6)
    assert image[:, 60:].abs().max() < 0.01, "padding is the mean colour"
    assert target.labels.tolist() == [1, 0, 0]
    assert target.boxes.tolist() == [[10.5, 10, 40.5, 30], [10.5, 5.25, 60, 35.75], [20, 40, 33, 55]]
    assert target.masks is not None
    for mask, number in zip(target.masks, (1, 2, 3), strict=True):
        assert (mask[:60].numpy() == witness.annToMask(witness.anns[number]).astype(bool)).all()
        assert not mask[60:].any()
    assert (target.image_id, target.original_size) == (31, (60, 80))


def test_boxes_over_the_edge_end_there(small_coco: SmallCoco) -> None:
    corner = [79.0, 0.0, 81.0, 0.0, 81.0, 20.0, 60.0, 20.0]
    added = annotation(9, 33, 7, [60, -0.5, 21.5, 20], [corner], 200)
    small_coco.change("train", lambda document: document["annotations"].append(added))
    (_, picture) = read_coco(small_coco.data).train
    assert read_view(picture, masks=True).boxes.tolist() == [[60, 0, 80, 19.5]]


def test_without_masks_targets_have_boxes_alone(small_coco: SmallCoco) -> None:
    target = samples(read_coco(small_coco.data).train, masks=False)[SampleKey(0, 0)].target
    assert target is not None
    assert (target.masks, len(target.boxes)) == (None, 3)


def test_copy_paste_needs_masks(small_coco: SmallCoco) -> None:
    with pytest.raises(UserError, match=r"augmentation.copy_paste = 0.5\n  rule:   0 without masks"):
        samples(read_coco(small_coco.data).train, JITTER, masks=False)


def test_unusable_images_are_named_and_replaced(digit_boxes: Path, small_coco: SmallCoco) -> None:
    good = read_coco(places(digit_boxes)).train[:2]
    (picture,) = read_coco(small_coco.data).train
    file = small_coco.image("train", 1)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    sample = samples([picture, *good])[SampleKey(0, 0)]
    assert sample.target is not None
    assert sample.target.image_id == good[0].id
    (text,) = sample.unreadable
    assert text.startswith(f"{file}: OSError")

    Image.new("RGB", (60, 80)).save(file)
    only = samples([picture], patience=2)[SampleKey(0, 0)]
    assert only.target is not None
    assert len(only.target.boxes) == 0, "after so many in a row, an image without objects"
    assert set(only.unreadable) == {f"{file}: 60x80, its annotations say 80x60"}


def test_every_test_image_comes_once_at_the_wanted_size(small_coco: SmallCoco) -> None:
    found = read_coco(small_coco.data)
    small_coco.image("test", 2).write_bytes(b"no image")
    pictures = EvaluationPictures(found.test, data_recipe.TestResize(shorter_px=90, longer_px=200), NORMALISATION)
    for workers in (0, 2):
        batches = list(evaluation_loader(pictures, 2, workers, False))
        assert [target.image_id for batch in batches for target in batch.targets] == [31, 33]
        assert [tuple(image.shape) for batch in batches for image in batch.images] == [(3, 90, 120)] * 2
        assert [text.split(":")[0] for batch in batches for text in batch.unreadable] == [
            str(small_coco.image("test", 2))
        ]


def test_a_batch_moves_whole(small_coco: SmallCoco) -> None:
    collated = samples(read_coco(small_coco.data).train)
    batch = collated.collate([collated[SampleKey(0, 0)]]).to(torch.device("meta"))
    tensors = [*batch.images, *(getattr(batch.targets[0], name) for name in ("boxes", "labels", "masks"))]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert dataclasses.asdict(batch.targets[0])["image_id"] == 31


@special_files
def test_what_is_no_ordinary_file_is_named(small_coco: SmallCoco, kind: str) -> None:
    words = put(small_coco.image("train", 1), kind)
    (picture,) = read_coco(small_coco.data).train
    with never_waiting(), pytest.raises(UnusableError, match=rf"^{picture.path}: OSError: {words}$"):
        read_view(picture, masks=True)


@special_files
def test_what_is_no_ordinary_file_holds_no_annotations(small_coco: SmallCoco, kind: str) -> None:
    words = put(small_coco.annotations("train"), kind)
    with never_waiting(), pytest.raises(UserError, match=words):
        read_coco(small_coco.data)


def test_a_picture_of_too_many_pixels_is_named(small_coco: SmallCoco) -> None:
    words = put_huge(small_coco.image("train", 1))
    (picture,) = read_coco(small_coco.data).train
    with pytest.raises(UnusableError, match=rf"^{picture.path}: {words}$"):
        read_view(picture, masks=True)
