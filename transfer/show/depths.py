"""Depth maps in grey, from the PNG files in which a run saves them: near is light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.engine.samples.unreadable import UNREADABLE, UnusableError
from benchmarks.errors import UserError
from benchmarks.files.pictures import open_picture
from benchmarks.files.regular import regular
from benchmarks.pictures.small import fit
from transfer.depth.data import DepthSets
from transfer.depth.samples import read_picture
from transfer.show.shown import Bytes, Cell, Example, Seen

Depths = NDArray[Any]


def depth_names(data: DepthSets) -> dict[str, int]:
    """Return the positions of the test images by their names."""
    return {data.name(pair): position for position, pair in enumerate(data.test)}


class SeenDepths(Seen):
    """Images with the depths of their pixels."""

    def __init__(self, data: DepthSets, folders: Sequence[Path], candidates: Sequence[str]) -> None:
        self.data, self.folders = data, folders
        self.positions = {name: at for name, at in depth_names(data).items() if name in set(candidates)}

    @cached_property
    def names(self) -> Mapping[str, int]:
        return {
            name: at
            for name, at in self.positions.items()
            if all((folder / f"{name}.png").is_file() for folder in self.folders)
        }

    def differ(self, position: int, one: int, other: int) -> float:
        first, second = (self._predicted(position, self.folders[run]) for run in (one, other))
        if first.shape != second.shape:
            return 1.0
        return float((np.abs(first - second) / np.maximum(np.maximum(first, second), 1e-9)).mean())

    def example(self, position: int) -> Example:
        pair = self.data.test[position]
        name = self.data.name(pair)
        predicted = [self._predicted(position, folder) for folder in self.folders]
        try:
            picture = read_picture(pair, self.data.values_per_metre)
        except UnusableError as error:
            return Example(name, Cell(f"(cannot be read: {error})"), tuple(Cell("") for _ in predicted))
        true, known = picture.depth, picture.depth > 0
        farthest = float(true.max()) or 1.0
        for folder, found in zip(self.folders, predicted, strict=True):
            if found.shape != true.shape:
                rule = f"of the size of its depth map, {true.shape[1]}x{true.shape[0]} px"
                raise _wrong(folder / f"{name}.png", f"{found.shape[1]}x{found.shape[0]} px", rule)
        cells = (Cell(_error(true[known], found[known]), _drawn(found, farthest)) for found in predicted)
        image = np.asarray(fit(Image.fromarray(picture.image)))
        beside = np.concatenate([image, _drawn(true, farthest)], axis=1)
        return Example(name, Cell(f"0 to {farthest:.1f} m, near is light", beside), tuple(cells))

    def _predicted(self, position: int, folder: Path) -> Depths:
        path = folder / f"{self.data.name(self.data.test[position])}.png"
        try:
            with open_picture(regular(path)) as file:
                values: Depths = np.asarray(file) / self.data.values_per_metre
        except UNREADABLE as error:
            raise _wrong(path, type(error).__name__, "a PNG file that can be read") from None
        if values.ndim != 2:
            raise _wrong(path, f"{values.shape[2]} channels", "one depth for each pixel")
        return values


def _error(true: Depths, found: Depths) -> str:
    return f"RMSE {np.sqrt(np.mean((true - found) ** 2)):.3f} m" if len(true) else "no known depth"


def _drawn(depth: Depths, farthest: float) -> Bytes:
    grey = np.where(depth > 0, 255 * (1 - 0.9 * np.clip(depth / farthest, 0, 1)), 0).astype(np.uint8)
    small = np.asarray(fit(Image.fromarray(grey), exact=True))
    return np.repeat(small[..., None], 3, axis=2)


def _wrong(path: Path, value: str, rule: str) -> UserError:
    remedy = "remove predictions/ of this run, and its checkpoint predicts again"
    return UserError.about(f"prediction {path}", value, rule, remedy)
