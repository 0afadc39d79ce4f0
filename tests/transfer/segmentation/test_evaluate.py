"""Inference: whole, by windows, at several scales, against mmseg's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.config import load_recipe
from benchmarks.engine.samples.loaders import SampleKey
from tests.support.libraries import library
from transfer.segmentation.data import Scenes, read_scenes
from transfer.segmentation.inference import predict
from transfer.segmentation.masks import MaskValues
from transfer.segmentation.model import Segmenter, build_segmenter, fit_batch_norms
from transfer.segmentation.recipe import SegmentationRecipe
from transfer.segmentation.samples import EvaluationScenes, TrainingScenes
from transfer.sources.references import resolve

ELEVEN = MaskValues(tuple(f"class {number}" for number in range(1, 12)), first=1, ignored=0)
SMALL = ["head_channels=16", "auxiliary_channels=8", "resize_to_px=[128, 80]", "image_size_px=64"]


def recipe(*overrides: str) -> SegmentationRecipe:
    return load_recipe(SegmentationRecipe, "transfer", "digit_scenes_finetune", [*SMALL, *overrides]).config


@pytest.fixture
def data(small_scenes: Path) -> Scenes:
    return read_scenes(small_scenes, "training", "validation", ELEVEN)


def segmenter(recipe: SegmentationRecipe) -> Segmenter:
    """A model whose random heads give pixels different classes."""
    found = build_segmenter(recipe, resolve("random:digits_swin"), 11, 0)
    fit_batch_norms(found.model, torch.device("cpu"), 2)
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in found.model.decode_head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    found.model.eval()
    return found


def views(data: Scenes, pipelines: list[Any], position: int = 1) -> list[dict[str, Any]]:
    return EvaluationScenes(data, pipelines)[SampleKey(position, 0)].views


@torch.inference_mode()
def test_several_scales_are_averaged_as_mmseg_does(data: Scenes) -> None:
    found = segmenter(recipe("testing.multi_scale=[0.75, 1.5]"))
    assert len(found.plan.multi_scale) == 4
    merged = library("mmseg.models", "onedl-mmsegmentation").SegTTAModel(module=found.model)
    packed = views(data, found.plan.multi_scale)
    expected = merged.test_step(
        {"inputs": [[view["inputs"]] for view in packed], "data_samples": [[view["data_samples"]] for view in packed]}
    )[0].pred_sem_seg.data
    again = predict(found.model, views(data, found.plan.multi_scale))
    assert again.shape == (64, 64), "the image's own size"
    assert len(again.unique()) > 1
    assert again.equal(expected.squeeze())


@torch.inference_mode()
def test_windows_average_to_the_same_as_by_hand(data: Scenes) -> None:
    found = segmenter(recipe("testing.mode=slide", "testing.stride_px=16"))
    (view,) = views(data, [found.plan.test_pipeline])
    assert tuple(view["inputs"].shape) == (3, 80, 80)
    images = found.model.data_preprocessor({"inputs": [view["inputs"]], "data_samples": [view["data_samples"]]}, False)
    total, count = torch.zeros(1, 11, 80, 80), torch.zeros(80, 80)
    for top in (0, 16):
        for left in (0, 16):
            window = (slice(top, top + 64), slice(left, left + 64))
            logits = found.model._forward(images["inputs"][:, :, *window])
            enlarged = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear", align_corners=False)
            total[:, :, *window] += enlarged
            count[window] += 1
    resized = torch.nn.functional.interpolate(total / count, (64, 64), mode="bilinear", align_corners=False)
    again = predict(found.model, views(data, [found.plan.test_pipeline]))
    assert (again == resized.argmax(dim=1)[0]).double().mean() > 0.999


def test_training_samples_depend_on_their_key_and_seed_alone(data: Scenes) -> None:
    pipeline = segmenter(recipe()).plan.train_pipeline
    one, two, other = (TrainingScenes(data.train, pipeline, ELEVEN, seed, 0) for seed in (0, 0, 1))
    torch.manual_seed(9)
    first = one[SampleKey(3, 2)]
    assert first.image.equal(two[SampleKey(3, 2)].image)
    assert first.target.gt_sem_seg.data.equal(two[SampleKey(3, 2)].target.gt_sem_seg.data)
    for different in (one[SampleKey(3, 1)], other[SampleKey(3, 2)]):
        assert first.image.shape != different.image.shape or not first.image.equal(different.image)
    assert set(first.target.gt_sem_seg.data.unique().tolist()) <= {*range(11), 255}


def test_crops_are_padded_with_ignored_pixels(data: Scenes) -> None:
    found = segmenter(recipe("image_size_px=128"))
    samples = TrainingScenes(data.train, found.plan.train_pipeline, ELEVEN, 0, 0)
    batch = samples.collate([samples[SampleKey(position, 0)] for position in range(2)])
    ready = found.model.data_preprocessor({"inputs": batch.inputs, "data_samples": batch.data_samples}, True)
    assert ready["inputs"].shape == (2, 3, 128, 128)
    for sample, image in zip(ready["data_samples"], batch.inputs, strict=True):
        outside = torch.ones(128, 128, dtype=torch.bool)
        outside[: image.shape[1], : image.shape[2]] = False
        assert (sample.gt_sem_seg.data[0][outside] == 255).all()
