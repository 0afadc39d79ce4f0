"""Differences and their intervals against brute force and SciPy; every reason why rows are not comparable."""

from __future__ import annotations

import itertools
import statistics
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.stats

from benchmarks.runs.record import AddedTestSet, DataUse, MetricValue, RecipeUse, parse_record
from reports.compare.like_for_like import compare, recipe_changes
from reports.compare.score_difference import Comparison, bootstrap, difference
from reports.records.rows import Row, TransferRun
from tests.reports import factory

THREE = {0: 93.5, 1: 94.0, 2: 92.75}


def row(label: str, scores: dict[int, float], **fields: object) -> Row:
    records = [factory.transfer(label, seed, top1, **fields) for seed, top1 in scores.items()]
    runs = [TransferRun(factory.Path(), record, record.task, record.encoder) for record in records]
    return Row(tuple(runs))


def brute_force(values: list[float]) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % points of the resampled mean: the least mean whose share reaches the level."""
    exact = [Fraction(value) for value in values]
    means = sorted(sum(chosen, Fraction()) / len(exact) for chosen in itertools.product(exact, repeat=len(exact)))
    at = [next(mean for place, mean in enumerate(means, 1) if place >= level * len(means)) for level in (0.025, 0.975)]
    return float(at[0]), float(at[1])


@pytest.mark.parametrize("values", [[1.5, -0.25, 0.75], [0.5, 0.5, 2.0, -1.0], [3.0, 1.0, 4.0, 1.5, 9.0]])
def test_small_samples_are_enumerated_exactly(values: list[float]) -> None:
    interval = bootstrap(values)
    assert (interval.low, interval.high) == pytest.approx(brute_force(values), abs=1e-12)
    assert interval.exact
    assert interval.resamples == len(values) ** len(values)


def test_with_three_values_the_interval_is_their_range() -> None:
    # The least of the 27 resampled means has a share of 1/27 = 3.7 %, more than 2.5 %.
    interval = bootstrap([0.9, 1.3, 1.1])
    assert (interval.low, interval.high) == pytest.approx((0.9, 1.3))


def test_three_seeds_hold_the_truth_in_75_percent_as_the_footnote_says() -> None:
    draws = np.random.default_rng(7).normal(size=(2000, 3))
    held = [interval.low <= 0 <= interval.high for interval in map(bootstrap, draws.tolist())]
    assert statistics.fmean(held) == pytest.approx(0.75, abs=0.03)  # three standard errors of 2,000 draws


def test_many_seeds_agree_with_scipy_and_are_reproducible() -> None:
    values = np.random.default_rng(3).normal(1.0, 2.0, size=40)
    interval = bootstrap(values.tolist())
    witness = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    )
    assert not interval.exact
    assert interval.resamples == 10_000
    drawn = np.sort(witness.bootstrap_distribution)  # with the same seed, the same resamples
    assert (interval.low, interval.high) == pytest.approx((drawn[249], drawn[9749]), abs=1e-12)
    expected = witness.confidence_interval  # interpolated between neighbours
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-3)
    assert bootstrap(values.tolist()) == interval


def test_delta_is_paired_by_seed() -> None:
    ours, theirs = {0: 95.0, 1: 90.0, 2: 85.0}, {2: 84.0, 0: 94.5, 1: 89.25}
    comparison = difference(ours, theirs)
    assert comparison.delta == pytest.approx((0.5 + 0.75 + 1.0) / 3)
    assert comparison.interval is not None
    assert (comparison.interval.low, comparison.interval.high) == pytest.approx((0.5, 1.0))
    assert comparison.note == ""


def test_only_common_seeds_are_paired_and_the_note_says_which() -> None:
    comparison = difference({0: 1.0, 1: 2.0, 2: 3.0, 9: 50.0}, {0: 0.0, 1: 0.0, 2: 0.0})
    assert comparison.delta == pytest.approx(2.0)
    assert comparison.note == "over the seeds in common: 0, 1, 2"


@pytest.mark.parametrize(
    ("theirs", "note"),
    [
        ({0: 92.0, 1: 91.0}, "no interval: 2 seeds in common, 3 are needed"),
        ({0: 92.0}, "no interval: 1 seed in common, 3 are needed"),
        ({7: 92.0, 8: 91.0, 9: 90.0}, "no interval: 0 seeds in common, 3 are needed"),
    ],
)
def test_without_three_common_seeds_there_is_a_difference_of_means_and_no_interval(
    theirs: dict[int, float], note: str
) -> None:
    expected = statistics.fmean(THREE.values()) - statistics.fmean(theirs.values())
    comparison = difference(THREE, theirs)
    assert comparison.delta == pytest.approx(expected)
    assert comparison.interval is None
    assert comparison.note == note


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"task": factory.TaskUse(name="digits", version=2)}, "other task version: 2, baseline 1"),
        (
            {"recipe": factory.recipe("digits_supervised")},
            "other recipe: digits_supervised, baseline digits_finetune",
        ),
        ({"recipe": factory.recipe(epochs=10)}, "other recipe: training.epochs = 10, baseline 20"),
        ({"image_size_px": 224}, "other image size: 224 px, baseline 64 px"),
        (
            {"data": factory.data("9 images, content beef")},
            "other data: fingerprint 9 images, content beef, baseline 718 images, content 4f1c2a9be07d3358",
        ),
    ],
)
def test_every_condition_that_differs_is_a_reason_in_words(fields: dict[str, object], reason: str) -> None:
    comparison = compare(row("simmim", THREE, **fields), [row("supervised", THREE)], "top1")
    assert comparison == Comparison(note=reason)


def test_all_reasons_are_given() -> None:
    other = row("simmim", THREE, image_size_px=224, task=factory.TaskUse(name="digits", version=3))
    note = compare(other, [row("supervised", THREE)], "top1").note
    assert note == "other task version: 3, baseline 1; other image size: 224 px, baseline 64 px"


def test_where_a_run_happened_explains_no_difference_of_recipes() -> None:
    ours = factory.recipe(epochs=10, workers=2, device="cuda")
    note = compare(row("simmim", THREE, recipe=ours), [row("supervised", THREE)], "top1").note
    assert note == "other recipe: training.epochs = 10, baseline 20"


def test_each_row_is_compared_with_the_baseline_that_agrees_with_it() -> None:
    small, large = row("supervised", THREE), row("supervised", {0: 80.0, 1: 80.0, 2: 80.0}, image_size_px=192)
    comparison = compare(row("simmim", THREE, image_size_px=192), [small, large], "top1")
    assert comparison.delta == pytest.approx(statistics.fmean(THREE.values()) - 80.0)
    assert compare(small, [small, large], "top1").note == "baseline"


def test_two_baselines_that_agree_are_not_chosen_between() -> None:
    one = row("supervised", THREE, encoder=factory.encoder("supervised", sha256="a" * 64))
    two = row("supervised", THREE, encoder=factory.encoder("supervised", sha256="b" * 64))
    comparison = compare(row("simmim", THREE), [one, two], "top1")
    assert comparison.delta is None
    assert "aaaaaaaaaaaa, bbbbbbbbbbbb" in comparison.note


@pytest.mark.parametrize(
    ("field", "is_change"),
    [
        ("training.workers", False),
        ("inference.device", False),
        ("data.root", False),
        ("data.subset.list", False),
        ("data.label_field", False),
        ("testing.save_predictions", False),
        ("data.decoder", False),
        ("views_at_once", False),
        ("training.sharded", False),
        ("target.palette", False),
        ("training.epochs", True),
        ("data.subset.fraction", True),
        ("list", True),
    ],
)
def test_where_a_run_happened_and_how_its_data_were_stored_is_no_change(field: str, is_change: bool) -> None:
    def nested(value: int) -> dict[str, Any]:
        found: Any = value
        for part in reversed(field.split(".")):
            found = {part: found}
        return dict(found)

    def used(value: int) -> RecipeUse:
        record = factory.transfer(recipe=RecipeUse(name="any", overrides=(), digest="0", resolved=nested(value)))
        return parse_record(
            record.model_dump_json().replace('"schema_version":4', '"schema_version":3').encode()
        ).recipe

    assert recipe_changes(used(1), used(2)) == ([(field, 1, 2)] if is_change else [])


def test_models_that_others_trained_are_never_in_a_difference() -> None:
    scored = factory.recipe().model_copy(update={"resolved": {"protocol": "evaluate"}})
    one, other = (row(label, {0: 80.0}, recipe=scored) for label in ("timm", "torchvision"))
    assert compare(one, [other], "top1") == Comparison(note="trained elsewhere: no record holds the recipe")


def test_test_sets_of_one_name_are_compared_only_where_they_are_the_same() -> None:
    def added(label: str, fingerprint: str) -> Row:
        v2 = AddedTestSet(
            name="imagenet_v2",
            overrides=(),
            data=DataUse(root="/data", fingerprint=fingerprint, images=10),
            scores={"top1": 70.0},
            reproduced={"top1": 90.0},
            device="cpu",
            command=(),
            measured_at="2026-05-04T10:00:00+00:00",
        )
        metrics = {"imagenet_v2_top1": MetricValue(last=70.0), "top1": MetricValue(last=90.0)}
        return row(label, {0: 90.0}, added_test_sets=(v2,), metrics=metrics)

    one, same, other = added("a", "10 images, 1"), added("b", "10 images, 1"), added("c", "10 images, 2")
    assert compare(one, [same], "imagenet_v2_top1").delta == 0
    note = "other test set: 10 images, 1, baseline 10 images, 2"
    assert compare(one, [other], "imagenet_v2_top1") == Comparison(note=note)
    assert compare(one, [other], "top1").delta == 0
