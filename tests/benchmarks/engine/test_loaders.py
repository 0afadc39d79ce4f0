"""Who is trained on which image, whatever the number of processes and wherever a run was interrupted."""

from __future__ import annotations

import pytest

from benchmarks.engine.samples.loaders import SampleKey, StepBatches

IMAGES, BATCH, STEPS = 26, 8, 7
"""Three full batches an epoch, so that seven steps reach into the third."""


def _joined(lists: list[list[SampleKey]]) -> list[SampleKey]:
    return [key for each in lists for key in each]


def batches(monkeypatch: pytest.MonkeyPatch, ranks: int, start: int, parts: int = 1) -> list[list[SampleKey]]:
    """Return the global batch of every step from `start` on, as its ranks and their parts load it."""
    loaded = []
    for rank in range(ranks):
        monkeypatch.setenv("WORLD_SIZE", str(ranks))
        monkeypatch.setenv("RANK", str(rank))
        sampler = StepBatches(IMAGES, BATCH, STEPS, start, seed=0, parts=parts)
        found = list(sampler)
        assert len(found) == len(sampler) == (STEPS - start) * parts
        loaded.append([_joined(found[first : first + parts]) for first in range(0, len(found), parts)])
    return [_joined([loaded[rank][step] for rank in range(ranks)]) for step in range(STEPS - start)]


@pytest.mark.parametrize(("ranks", "parts"), [(1, 1), (2, 1), (4, 1), (2, 2), (1, 8)])
@pytest.mark.parametrize("start", [0, 2, 3, 5])
def test_any_number_of_processes_goes_on_with_the_same_batches(
    monkeypatch: pytest.MonkeyPatch, ranks: int, parts: int, start: int
) -> None:
    assert batches(monkeypatch, ranks, start, parts) == batches(monkeypatch, 1, 0)[start:]


def test_no_image_comes_twice_in_an_epoch_that_two_processes_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    order = [*batches(monkeypatch, 1, 0)[:2], *batches(monkeypatch, 2, 2)]
    for epoch in range(2):
        keys = _joined(order[3 * epoch : 3 * epoch + 3])
        assert {key.epoch for key in keys} == {epoch}
        assert len({key.position for key in keys}) == 3 * BATCH, "24 different ones of 26; the ragged rest is dropped"
    assert order[0] != order[3], "every epoch is another shuffle"


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_repeated_images_are_those_of_deits_sampler(monkeypatch: pytest.MonkeyPatch, ranks: int) -> None:
    """Its rule: a shuffle with every image three times in a row, of which rank r takes places r, r + ranks, ...

    A step of all its ranks is then a run of the repeated shuffle; an epoch ends after as many steps as without repeats.
    """
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    plain = [key.position for key in _joined(list(StepBatches(IMAGES, BATCH, STEPS, 0, seed=0)))]
    repeated = [image for image in plain[: 3 * BATCH] for _ in range(3)]
    theirs = [repeated[rank::ranks] for rank in range(ranks)]
    size = BATCH // ranks
    for step in range(3):
        ours = []
        for rank in range(ranks):
            monkeypatch.setenv("WORLD_SIZE", str(ranks))
            monkeypatch.setenv("RANK", str(rank))
            ours += list(StepBatches(IMAGES, BATCH, STEPS, 0, seed=0, repeats=3))[step]
        expected = [image for rank in range(ranks) for image in theirs[rank][step * size : (step + 1) * size]]
        assert sorted(key.position for key in ours) == sorted(expected)


def test_no_two_draws_of_an_image_are_augmented_alike() -> None:
    keys = _joined(list(StepBatches(IMAGES, BATCH, 9, 0, seed=0, repeats=3)))
    assert len(set(keys)) == len(keys) == 9 * BATCH
    assert {key.epoch // 3 for key in keys[3 * BATCH : 6 * BATCH]} == {1}
    assert (
        list(StepBatches(IMAGES, BATCH, 9, 4, seed=0, repeats=3))
        == list(StepBatches(IMAGES, BATCH, 9, 0, seed=0, repeats=3))[4:]
    )
