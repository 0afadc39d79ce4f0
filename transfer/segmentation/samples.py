"""Images with masks as samples, changed by mmsegmentation's own transforms with a seed for each sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.engine.samples.loaders import SampleKey
from benchmarks.engine.samples.seeded import S, SeededSamples, the_one
from benchmarks.engine.samples.unreadable import UnusableError, damage_named
from benchmarks.engine.seeding import derive
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import upright, upright_pixels
from benchmarks.files.regular import regular
from transfer.segmentation.data import Pair, Scenes
from transfer.segmentation.masks import MaskValues
from transfer.segmentation.plans.plan import Pipeline, ignored_label

Transform = Callable[[dict[str, Any]], dict[str, Any]]


class SceneSample(NamedTuple):
    """A training image [3, h, w] uint8 BGR with its SegDataSample, and the files that could not be used before it."""

    image: Tensor
    target: Any
    unreadable: tuple[str, ...]


class SceneBatch(NamedTuple):
    """Images and SegDataSamples as mmseg's data preprocessor takes them, and the files that could not be used."""

    inputs: list[Tensor]
    data_samples: list[Any]
    unreadable: list[str]

    def to(self, device: torch.device) -> SceneBatch:
        """Return the batch with images and masks on the device."""
        images = [image.to(device, non_blocking=True) for image in self.inputs]
        return self._replace(inputs=images, data_samples=[each.to(device) for each in self.data_samples])


class _Scenes(SeededSamples[Pair, "Scene", S]):
    """Images with their masks."""

    values: MaskValues

    def read(self, item: Pair) -> Scene:
        return read_scene(item, self.values)

    def empty(self, pair: Pair) -> Scene:
        """Return a black image without labels in the place of an item."""
        unlabelled = np.full((64, 64), ignored_label(len(self.values.classes)), np.int32)
        return Scene(np.zeros((64, 64, 3), np.uint8), unlabelled, pair)


class TrainingScenes(_Scenes[SceneSample]):
    """Augmented training images; one that cannot be used is named, and replaced by the next one that can."""

    @staticmethod
    def collate(samples: list[SceneSample]) -> SceneBatch:
        """Put samples into one batch as lists, which mmseg's data preprocessor stacks on the device."""
        failed = [text for sample in samples for text in sample.unreadable]
        return SceneBatch([sample.image for sample in samples], [sample.target for sample in samples], failed)

    def __init__(self, pairs: Sequence[Pair], pipeline: Pipeline, values: MaskValues, seed: int, patience: int) -> None:
        """`patience` is how many unusable images in a row are skipped before a blank one is returned."""
        super().__init__(pairs, seed, patience)
        self.values, self.transform = values, built(pipeline)

    def sample(self, position: int, found: Scene | None, failed: list[str]) -> SceneSample:
        scene = found or self.empty(self.items[position])
        packed = self.transform({**scene.results(), "gt_seg_map": scene.labels, "seg_fields": ["gt_seg_map"]})
        return SceneSample(packed["inputs"], packed["data_samples"], tuple(failed))


class SceneViews(NamedTuple):
    """A test image as each pipeline returns it, and its labels [H, W] at their own size.

    An image that cannot be used has no views.
    """

    position: int
    views: list[dict[str, Any]]
    labels: Tensor
    unreadable: list[str]

    def to(self, device: torch.device) -> SceneViews:
        """Return the sample with its labels on the device; views follow in mmseg's data preprocessor."""
        return self._replace(labels=self.labels.to(device, non_blocking=True))


class EvaluationScenes(_Scenes[SceneViews]):
    """Test images, each with a view from every pipeline. Their sizes differ, so a sample is a batch of its own."""

    def __init__(self, data: Scenes, pipelines: Sequence[Pipeline]) -> None:
        super().__init__(data.test)
        self.values, folder = data.values, data.root / "images"
        self.names = [pair.image.relative_to(folder).with_suffix("").as_posix() for pair in data.test]
        """The names of the images, as SPLIT/NAME."""
        self.transforms = [built(pipeline) for pipeline in pipelines]

    @staticmethod
    def collate(samples: list[SceneViews]) -> SceneViews:
        return the_one(samples)

    def seed_of(self, key: SampleKey) -> int:
        return derive(0, "test", key.position)

    @property
    def blank(self) -> SceneViews:
        """A black image with as many views as any other, and without labels."""
        return self.sample(0, self.empty(self.items[0]), [])

    def sample(self, position: int, found: Scene | None, failed: list[str]) -> SceneViews:
        if found is None:
            return SceneViews(position, [], torch.empty(0, 0, dtype=torch.uint8), failed)
        views = [transform(found.results()) for transform in self.transforms]
        return SceneViews(position, views, torch.from_numpy(found.labels), failed)


@dataclass(frozen=True)
class Scene:
    """An image [H, W, 3] uint8 BGR, as mmseg's transforms expect it, and labels [H, W] as masks give them."""

    image: np.ndarray
    labels: np.ndarray
    pair: Pair

    def results(self) -> dict[str, Any]:
        """Return the dict that mmseg's loading transforms pass on, without the labels."""
        size = self.image.shape[:2]
        paths = {"img_path": str(self.pair.image), "seg_map_path": str(self.pair.mask)}
        return {"img": self.image, "img_shape": size, "ori_shape": size, **paths}


def read_scene(pair: Pair, values: MaskValues) -> Scene:
    """Read an image and its mask. Raises UnusableError for damaged files, sizes that differ and unknown classes."""
    image, mask = _read(pair.image, "RGB"), _read(pair.mask, None)
    if mask.shape != image.shape[:2]:
        raise UnusableError(
            f"{pair.mask}: {mask.shape[1]}x{mask.shape[0]}, its image {image.shape[1]}x{image.shape[0]}"
        )
    try:
        labels = values.labels(mask)
    except ValueError as error:
        raise UnusableError(f"{pair.mask}: {error}") from None
    return Scene(np.ascontiguousarray(image[..., ::-1]), labels, pair)


def _read(path: Path, mode: str | None) -> np.ndarray:
    """Return a picture of a mode, or a mask with the values that its file holds."""
    with damage_named(path), open_picture(regular(path)) as image:
        return np.asarray(upright_pixels(image, mode) if mode else upright(image))


def built(pipeline: Pipeline) -> Transform:
    """Return a pipeline of mmseg's transforms as one function."""
    from transfer.segmentation.model import mmseg_scope

    with mmseg_scope():
        import mmseg.datasets.transforms  # noqa: F401 (fills mmseg's registry)
        from mmcv.transforms import Compose
        from mmseg.registry import TRANSFORMS

        found: Transform = Compose([TRANSFORMS.build(dict(step)) for step in pipeline])
    return found
