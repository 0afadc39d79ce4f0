"""Samples by content: what two data sets share is found under any name, and estimated where samples are parts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.data import content_sample
from benchmarks.data.content_sample import ContentSample, draw, share_seen

SMALL, LARGE = 40, 400


def write(folder: Path, contents: list[bytes]) -> ContentSample | None:
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f"{folder.name}_{number}").write_bytes(content)
    files = sorted(folder.iterdir())
    return draw(files, [file.stat().st_size for file in files])


def contents(seed: int, number: int) -> list[bytes]:
    draws = random.Random(seed)
    return [draws.randbytes(draws.randrange(1000, 3000)) for _ in range(number)]


def test_small_data_sets_are_compared_file_by_file(tmp_path: Path) -> None:
    one, other = contents(0, 30), contents(1, 30)
    test, trained = write(tmp_path / "test", one), write(tmp_path / "trained", [*other, *one[:7], one[0]])
    assert test is not None
    assert trained is not None
    assert share_seen(test, trained) == (7, 30)
    assert share_seen(trained, test) == (8, 38), "the copy counts as a file of its own"
    assert (test.of, test.until) == (30, content_sample.END)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_in_a_large_data_set_is_estimated_from_parts_of_both(
    tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_sample, "FILES_SAMPLED", 100)
    images, number = contents(2, LARGE), round(share * LARGE)
    test, trained = write(tmp_path / "test", images), write(tmp_path / "trained", images[:number] + contents(3, LARGE))
    assert test is not None
    assert trained is not None
    assert max(len(test.digests), len(trained.digests)) < 110, "no more are read"
    found, sampled = share_seen(test, trained)
    assert sampled >= SMALL
    # four standard errors of a share of 40 or more files
    assert found / sampled == pytest.approx(share, abs=4 * (share * (1 - share) / sampled) ** 0.5)


def test_what_cannot_be_sampled_is_no_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert draw([], []) is None
    assert draw([tmp_path / "gone", tmp_path / "unknown"], [10, None]) is None
    monkeypatch.setattr(content_sample, "MOST_SAMPLED", 4)
    arrays = [bytes([number]) * 100 for number in range(5)]
    assert write(tmp_path / "arrays", arrays) is None, "too many of one size"
    assert write(tmp_path / "fewer", arrays[:4]) is not None
