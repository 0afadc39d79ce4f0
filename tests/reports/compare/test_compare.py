"""Differences and their intervals against simulations and SciPy; every reason why rows are not comparable."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats

from benchmarks.runs.migrations import parse_record
from benchmarks.runs.record import AddedTestSet, DataUse, MetricValue, NormalisationUse, RecipeUse
from reports.compare.like_for_like import compare, recipe_changes
from reports.compare.score_difference import Comparison, difference
from reports.compare.student import holm, paired_t, welch_t
from reports.records.rows import Draw, Row
from tests.reports import factory
from tests.reports.factory import THREE, row


def drawn(scores: Mapping[int, float]) -> dict[Draw, float]:
    return {Draw(seed): score for seed, score in scores.items()}


def nested(scores: Sequence[Sequence[float]]) -> dict[Draw, float]:
    """Return scores by pretraining and seed."""
    return {Draw(seed, (place,)): one for place, own in enumerate(scores) for seed, one in enumerate(own)}


@pytest.mark.parametrize("n", range(3, 11))
def test_a_paired_interval_holds_the_truth_in_95_percent(n: int) -> None:
    """Seeds move both encoders alike, and each by itself; the standard error of 40,000 draws is 0.11 points."""
    rng = np.random.default_rng(n)
    both, alone = rng.normal(size=(40_000, n)), rng.normal(size=(2, 40_000, n))
    interval = paired_t((0.7 + both + 0.5 * alone[0]) - (both + 1.5 * alone[1]))
    held = 100 * np.mean((interval.low <= 0.7) & (interval.high >= 0.7))
    assert held == pytest.approx(95, abs=1)
    assert held == pytest.approx(95, abs=0.5)


@pytest.mark.parametrize("sizes", [(3, 3), (3, 10), (4, 4), (5, 3), (6, 6), (10, 10)])
@pytest.mark.parametrize("deviation", [0.5, 1, 2])
def test_welch_s_interval_holds_the_truth_in_93_to_97_percent(sizes: tuple[int, int], deviation: float) -> None:
    rng = np.random.default_rng(sum(sizes))
    sides = [rng.normal(size=(40_000, n)) for n in sizes]
    interval = welch_t(0.7 + deviation * sides[0], sides[1])
    assert 92.5 < 100 * np.mean((interval.low <= 0.7) & (interval.high >= 0.7)) < 97


@pytest.mark.parametrize("n", [2, 3, 7])
def test_a_paired_interval_is_scipy_s(n: int) -> None:
    ours, theirs = np.random.default_rng(n).normal(80, 2, size=(2, n))
    witness = scipy.stats.ttest_rel(ours, theirs)
    interval = difference(drawn(dict(enumerate(ours))), drawn(dict(enumerate(theirs)))).interval
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(witness.confidence_interval()))
    assert interval.p == pytest.approx(witness.pvalue)
    assert interval.method == f"paired t, n = {n}"


def test_seeds_that_do_not_pair_have_welch_s_interval_as_scipy_has_it() -> None:
    ours, theirs = {0: 90.0, 1: 91.5, 2: 89.0, 3: 90.5}, {3: 88.0, 11: 84.0, 12: 85.5}
    witness = scipy.stats.ttest_ind(list(ours.values()), list(theirs.values()), equal_var=False)
    interval = difference(drawn(ours), drawn(theirs)).interval
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(witness.confidence_interval()))
    assert interval.p == pytest.approx(witness.pvalue)
    assert interval.method == "Welch's t, n = 4 and 3"


@pytest.mark.parametrize("theirs", [{0: 91.4, 1: 91.9, 2: 90.65}, {7: 88.1, 8: 88.1, 9: 88.1}])
def test_without_any_variance_the_interval_is_a_point_and_said_so(theirs: dict[int, float]) -> None:
    ours = THREE if 0 in theirs else dict.fromkeys(range(3), 90.2)
    comparison = difference(drawn(ours), drawn(theirs))
    assert comparison.interval is not None
    assert comparison.interval[:2] == pytest.approx((2.1, 2.1))
    assert comparison.interval.p is None
    assert comparison.note == "no variance over seeds"


OURS = ((90.0, 91.0, 92.5), (93.0, 92.0, 94.0), (89.0, 90.5, 90.0))
THEIRS = ((88.0, 88.5, 90.0), (90.0, 89.0, 90.5), (88.5, 87.0, 88.0))


def test_over_pretrainings_the_means_of_each_are_paired() -> None:
    witness = scipy.stats.ttest_rel(np.mean(OURS, axis=1), np.mean(THEIRS, axis=1))
    found = difference(nested(OURS), nested(THEIRS))
    assert found.interval is not None
    assert found.interval[:2] == pytest.approx(tuple(witness.confidence_interval()))
    assert found.interval.method == "paired t, n = 3 pretrainings x 3 seeds"
    fewer = difference(nested([OURS[0], OURS[1][:2]]), nested(THEIRS))
    assert fewer.interval is not None
    assert fewer.interval.method == "paired t, n = 2 pretrainings x 2 to 3 seeds"
    assert fewer.note.startswith(
        "over the seeds in common: seed 0 of pretraining 0, seed 0 of pretraining 1, seed 1 of"
    )


def test_pretrainings_against_seeds_of_one_encoder_do_not_pair() -> None:
    witness = scipy.stats.ttest_ind(np.mean(OURS, axis=1), THEIRS[0], equal_var=False)
    found = difference(nested(OURS), drawn(dict(enumerate(THEIRS[0]))))
    assert found.delta == pytest.approx(np.mean(OURS) - np.mean(THEIRS[0]))
    assert found.interval is not None
    assert found.interval[:2] == pytest.approx(tuple(witness.confidence_interval()))
    assert found.interval.method == "Welch's t, n = 3 pretrainings x 3 seeds and 3"
    two = difference(nested(OURS[:2]), drawn(dict(enumerate(THEIRS[0]))))
    assert two.note == "no interval: n = 2 pretrainings x 3 seeds and 3, 2 pairs are needed, or 3 of each"


@pytest.mark.parametrize("pretrainings", range(3, 11))
def test_a_nested_interval_holds_the_truth_of_pretraining_again_in_95_percent(pretrainings: int) -> None:
    """Where pretraining moves scores as training does, the interval over one encoder's seeds often misses the truth."""
    rng = np.random.default_rng(pretrainings)
    scores = 0.7 + rng.normal(size=(20_000, pretrainings, 1)) + rng.normal(size=(20_000, pretrainings, 5))
    interval, alone = paired_t(scores.mean(axis=-1)), paired_t(scores[:, 0])
    held, held_alone = (100 * np.mean((one.low <= 0.7) & (one.high >= 0.7)) for one in (interval, alone))
    assert held == pytest.approx(95, abs=1)
    assert held_alone < 75


@pytest.mark.parametrize(
    ("found", "corrected"),
    [  # R 4.3, p.adjust(c(...), "holm")
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        ([0.03, 0.005, 0.04, 0.01], [0.06, 0.02, 0.06, 0.03]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([], []),
    ],
)
def test_holm_s_correction_is_r_s(found: list[float], corrected: list[float]) -> None:
    assert holm(found) == pytest.approx(corrected)


def test_delta_is_paired_by_seed() -> None:
    ours, theirs = {0: 95.0, 1: 90.0, 2: 85.0}, {2: 84.0, 0: 94.5, 1: 89.25}
    comparison = difference(drawn(ours), drawn(theirs))
    assert comparison.delta == pytest.approx((0.5 + 0.75 + 1.0) / 3)
    assert comparison.interval is not None
    # mean 0.75, deviation 0.25, and the 97.5 % point of t with two degrees of freedom in its closed form
    reach = 0.95 / math.sqrt(2 * 0.975 * 0.025) * 0.25 / math.sqrt(3)
    assert (comparison.interval.low, comparison.interval.high) == pytest.approx((0.75 - reach, 0.75 + reach))
    assert comparison.note == ""


def test_only_common_seeds_are_paired_and_the_note_says_which() -> None:
    comparison = difference(drawn({0: 1.0, 1: 2.0, 2: 3.0, 9: 50.0}), drawn({0: 0.0, 1: 0.0, 2: 0.0}))
    assert comparison.delta == pytest.approx(2.0)
    assert comparison.note == "over the seeds in common: 0, 1, 2"


@pytest.mark.parametrize(
    ("theirs", "note"),
    [
        ({0: 92.0}, "no interval: 1 seed in common, 2 pairs are needed, or 3 of each"),
        ({0: 92.0, 8: 91.0}, "no interval: 1 seed in common, 2 pairs are needed, or 3 of each"),
        ({7: 92.0, 8: 91.0}, "no interval: 0 seeds in common, 2 pairs are needed, or 3 of each"),
    ],
)
def test_without_two_common_seeds_there_is_a_difference_of_means_and_no_interval(
    theirs: dict[int, float], note: str
) -> None:
    expected = statistics.fmean(THREE.values()) - statistics.fmean(theirs.values())
    comparison = difference(drawn(THREE), drawn(theirs))
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


def test_a_beit_of_an_earlier_version_is_not_compared_and_says_why() -> None:
    """It was normalised as ImageNet's images are, and its record does not say how; one of today says it."""
    half = NormalisationUse(mean=(0.5,) * 3, std=(0.5,) * 3, stated_by="preprocessor_config.json")
    earlier = {"encoder": factory.encoder("beit", method="huggingface-beit")}
    today = {"encoder": factory.encoder("beit", method="huggingface-beit", images=half), "normalisation": half}
    baseline = [row("supervised", THREE)]
    version = "beit by a version that took ImageNet's normalisation for BEiT where no file states one"
    assert compare(row("beit", THREE, **earlier), baseline, "top1").note == version
    assert compare(row("beit", THREE, **today), baseline, "top1").delta is not None
    note = compare(row("beit", THREE, **today), [row("beit", THREE, **earlier)], "top1").note
    other = "other normalisation of the same encoder's images"
    assert note == f"{version}; {other}: preprocessor_config.json, baseline ImageNet's or its layout's"
    runs = [row("beit", THREE, **fields).first for fields in (earlier, today)]
    assert len({run.row_key for run in runs}) == 2
    assert runs[0].record.run_id != runs[1].record.run_id


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
        ("training.precision", True),
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
