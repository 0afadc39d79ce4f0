"""Predictions that nobody could have made, or that have no end, are refused in words before a picture is drawn."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.errors import UserError
from transfer.show.classes import Prediction, read_predictions

HEAD = "path,label,predicted,confidence\n"


def holed(path: Path) -> None:
    path.write_text(f"{HEAD}a.png,cat,cat,0.5\n")
    os.truncate(path, 2**40)


def confidence(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(f"{HEAD}a.png,cat,cat,{text}\n")


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "a hole": (holed, "more than 268,435,456 bytes"),
    "a pipe": (os.mkfifo, "a FIFO where an ordinary file belongs"),
    "five million rows": (lambda path: path.write_text(HEAD + "a\n" * 5_000_000), "more than 4,194,304 cells"),
    "no number": (confidence("nan"), "a confidence of nan"),
    "infinite": (confidence("1e400"), "a confidence of inf"),
    "negative": (confidence("-5"), "a confidence of -5.0"),
    "more than 1": (confidence("1.5"), "a confidence of 1.5"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_predictions_are_refused_in_words(tmp_path: Path, name: str) -> None:
    spoil, reason = SPOILT[name]
    spoil(tmp_path / "predictions.csv")
    with pytest.raises(UserError, match="predictions") as error:
        read_predictions(tmp_path / "predictions.csv")
    assert reason in str(error.value)


@pytest.mark.parametrize(("text", "known"), [("0", 0.0), ("1.000", 1.0), ("", None)])
def test_a_probability_is_read_and_may_be_absent(tmp_path: Path, text: str, known: float | None) -> None:
    confidence(text)(tmp_path / "predictions.csv")
    assert read_predictions(tmp_path / "predictions.csv") == {"a.png": Prediction("cat", "cat", known)}
