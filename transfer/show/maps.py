"""Segmentation maps, from the PNG files in which a run saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.utils import draw_segmentation_masks

from benchmarks.engine.samples.unreadable import UNREADABLE, UnusableError
from benchmarks.errors import UserError
from benchmarks.files.pictures import open_picture
from benchmarks.files.regular import regular
from benchmarks.pictures.small import fit
from transfer.segmentation.data import Scenes
from transfer.segmentation.samples import read_scene
from transfer.show.colours import as_hex, colour_of
from transfer.show.shown import Bytes, Cell, Example, Seen, Swatch

Labels = NDArray[Any]
OPACITY = 0.6


def scene_names(data: Scenes) -> dict[str, int]:
    """Return the positions of the test images by their names, which are SPLIT/NAME."""
    folder = data.root / "images"
    named = (pair.image.relative_to(folder).with_suffix("").as_posix() for pair in data.test)
    return {name: position for position, name in enumerate(named)}


class SeenMaps(Seen):
    """Images with the classes of their pixels."""

    def __init__(self, data: Scenes, folders: Sequence[Path], candidates: Sequence[str]) -> None:
        self.data, self.folders = data, folders
        self.positions = {name: at for name, at in scene_names(data).items() if name in set(candidates)}
        self.by_position = {at: name for name, at in self.positions.items()}
        self.met: set[int] = set()

    @cached_property
    def names(self) -> Mapping[str, int]:
        return {
            name: at
            for name, at in self.positions.items()
            if all((folder / f"{name}.png").is_file() for folder in self.folders)
        }

    @property
    def legend(self) -> Sequence[Swatch]:  # type: ignore[override]
        return [Swatch(self.data.classes[number], as_hex(colour_of(number))) for number in sorted(self.met)]

    def differ(self, position: int, one: int, other: int) -> float:
        first, second = (self._predicted(self.by_position[position], self.folders[run]) for run in (one, other))
        return float((first != second).mean()) if first.shape == second.shape else 1.0

    def example(self, position: int) -> Example:
        name = self.by_position[position]
        predicted = [self._predicted(name, folder) for folder in self.folders]
        try:
            scene = read_scene(self.data.test[position], self.data.values)
        except (*UNREADABLE, UnusableError) as error:
            words = f"(cannot be read: {type(error).__name__})"
            return Example(name, Cell(words), tuple(Cell("") for _ in predicted))
        image, truth = scene.image[..., ::-1], scene.labels
        for folder, found in zip(self.folders, predicted, strict=True):
            if found.shape != truth.shape:
                rule = f"of the size of its mask, {truth.shape[1]}x{truth.shape[0]} px"
                raise _wrong(folder / f"{name}.png", f"{found.shape[1]}x{found.shape[0]} px", rule)
        cells = (Cell(self._agreement(truth, found), self._drawn(image, found)) for found in predicted)
        return Example(name, Cell("", self._drawn(image, truth)), tuple(cells))

    def _predicted(self, name: str, folder: Path) -> Labels:
        path = folder / f"{name}.png"
        try:
            with open_picture(regular(path)) as file:
                values = np.asarray(file)
        except UNREADABLE as error:
            raise _wrong(path, type(error).__name__, "a PNG file that can be read") from None
        try:
            return self.data.values.labels(_grey(values))
        except ValueError:
            raise _wrong(path, "other values", f"one class for each pixel: {self.data.values}") from None

    def _agreement(self, truth: Labels, predicted: Labels) -> str:
        counted = truth < len(self.data.classes)
        if not counted.any():
            return "no labelled pixel"
        truth, predicted = truth[counted], predicted[counted]
        pixels = 100 * float((truth == predicted).mean())
        classes = np.union1d(truth, predicted)
        shares = [((truth == c) & (predicted == c)).sum() / ((truth == c) | (predicted == c)).sum() for c in classes]
        return f"{pixels:.1f} % of pixels right\nmIoU {100 * float(np.mean(shares)):.1f}"

    def _drawn(self, image: Bytes, labels: Labels) -> Bytes:
        shown = np.asarray(fit(Image.fromarray(np.ascontiguousarray(image))))
        small = np.asarray(fit(Image.fromarray(labels.astype(np.int32), "I"), exact=True))
        present = [int(number) for number in np.unique(small) if number < len(self.data.classes)]
        self.met |= set(present)
        if not present:
            return shown
        masks = torch.from_numpy(np.stack([small == number for number in present]))
        colours = [colour_of(number) for number in present]
        pixels = torch.from_numpy(shown.transpose(2, 0, 1).copy())
        drawn: Bytes = draw_segmentation_masks(pixels, masks, OPACITY, colours).permute(1, 2, 0).numpy()
        return drawn


def _grey(values: Labels) -> Labels:
    """Return the values of a picture of one channel. Raises ValueError for one of several."""
    if values.ndim != 2:
        raise ValueError(f"{values.ndim} axes")
    return values


def _wrong(path: Path, value: str, rule: str) -> UserError:
    remedy = "remove predictions/ of this run, and its checkpoint predicts again"
    return UserError.about(f"prediction {path}", value, rule, remedy)
