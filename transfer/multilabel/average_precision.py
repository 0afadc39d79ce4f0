"""Average precision of one class from scores, in the two ways in which VOC 2007 is scored, in percent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 11
"""Recalls of 0, 0.1, ..., 1."""


class Curve:
    """Precision over recall of a class, after each image, the best score first; of equal scores in the order given."""

    def __init__(self, scores: NDArray[np.floating], there: NDArray[np.bool_]) -> None:
        """Take the scores [N] of images and whether the class is there [N], on one of them at least."""
        self._found = np.cumsum(there[np.argsort(-scores, kind="stable")])
        precision = self._found / np.arange(1, len(scores) + 1)
        self.precision = np.maximum.accumulate(precision[::-1])[::-1]
        """Interpolated: the best precision at this recall or a higher one."""

    def at_eleven_recalls(self) -> float:
        """Return the mean of the precisions at 11 recalls, by the formula of VOC 2007's devkit (VOCevalcls.m)."""
        wanted = np.arange(LEVELS) * self._found[-1]  # in whole numbers: three of ten are a recall of 0.3
        places = np.searchsorted((LEVELS - 1) * self._found, wanted)
        return float(100 * self.precision[places].mean())

    def area(self) -> float:
        """Return the area below the interpolated precision, as VOC has it since 2010 and VISSL for VOC 2007."""
        steps = np.diff(self._found, prepend=0)
        return float(100 * (steps * self.precision).sum() / self._found[-1])
