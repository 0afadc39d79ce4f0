"""Confusion matrices as figures, and in words for those who do not see them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from benchmarks.errors import printable
from benchmarks.pictures.sheet import png_of
from transfer.show.shown import Confusion

MOST_CLASSES = 20
"""Of more classes, those with the most mistakes are drawn."""
MOST_NAMED = 5
LONGEST_NAME = 18


def figure_of(confusion: Confusion) -> bytes:
    """Return a PNG of the matrix: rows are true classes, columns predicted ones, colours shares of a row."""
    shown = shown_classes(confusion)
    counts = confusion.counts[np.ix_(shown, shown)]
    totals = confusion.counts[shown].sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    side = 1.6 + 0.32 * len(shown)
    figure = Figure(figsize=(side + 0.6, side), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_short(confusion.classes[number]) for number in shown]
    axes.set_xticks(range(len(shown)), names, rotation=90, fontsize=7, parse_math=False)
    axes.set_yticks(range(len(shown)), names, fontsize=7, parse_math=False)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=6, color=colour)
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("true", fontsize=8)
    axes.set_title(_short(confusion.run), fontsize=8, parse_math=False)
    return png_of(figure)


def shown_classes(confusion: Confusion) -> list[int]:
    """Return the classes that are drawn, in their order: all, or those with the most mistakes on either side."""
    mistakes = confusion.counts - np.diag(confusion.counts.diagonal())
    totals = mistakes.sum(axis=0) + mistakes.sum(axis=1)
    return sorted(np.argsort(-totals, kind="stable")[:MOST_CLASSES].tolist())


def in_words(confusion: Confusion) -> str:
    """Return the accuracy and the most frequent mistakes in one sentence."""
    counts, total = confusion.counts, int(confusion.counts.sum())
    right = int(counts.diagonal().sum())
    mistakes = [(int(counts[at]), at) for at in zip(*np.nonzero(counts), strict=True) if at[0] != at[1]]
    mistakes.sort(key=lambda each: (-each[0], each[1]))
    named = (f"{confusion.classes[row]} as {confusion.classes[column]} ({n})" for n, (row, column) in mistakes)
    worst = ", ".join(text for text, _ in zip(named, range(MOST_NAMED), strict=False))
    shown = len(shown_classes(confusion))
    part = f" The figure has the {shown} of {len(counts)} classes with the most mistakes." * (shown < len(counts))
    most = f" Most often mistaken: {worst}." if worst else ""
    return f"{confusion.run}: {right} of {total} right, {100 * right / total:.2f} %.{most}{part}"


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"
