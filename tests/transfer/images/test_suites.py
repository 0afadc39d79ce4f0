"""Suites of test sets: what one line of a recipe stands for, ImageNet-C's crop, and mCE."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image

import mimbench
from benchmarks.catalogue.suites import corrupted
from benchmarks.catalogue.tasks import TASKS
from benchmarks.config import load_recipe
from benchmarks.errors import UserError
from tests.support.runs import record_of, trained
from tests.support.small import RANDOM
from tests.transfer.kinds import rows_of
from transfer.classification.adapter import ClassificationAdapter
from transfer.classification.augment import test_samples as evaluation_samples
from transfer.encoder.encoder_plan import plan_encoder
from transfer.images.read import read_classification_data
from transfer.scores import declared
from transfer.sources.references import resolve

SUITE = "data.suites.imagenet_robustness=/data/robustness"
CORRUPTIONS = ["gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur"]
CORRUPTIONS += ["zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate"]
CORRUPTIONS += ["jpeg_compression"]
MCE_OF_AUGMIX = 53.7588255099524
"""What `compute_mce` of google-research/augmix imagenet.py (9b9824c) returns for `accuracy` of every corruption."""


def test_one_line_stands_for_all_test_sets_as_they_are_published() -> None:
    config = load_recipe(ClassificationAdapter.recipe, "transfer", "imagenet1k_knn", [SUITE]).config
    sets = config.data.test_sets
    assert len(sets) == 6 + 15 * 5
    assert (sets["imagenet_a"].root, sets["imagenet_a"].scored_classes) == ("/data/robustness/imagenet-a", "own")
    assert sets["imagenet_real"].accepted == "/data/robustness/real.json"
    assert (sets["objectnet"].class_map, sets["objectnet"].border_px) == ("mappings", 2)
    fog = sets["imagenet_c_fog_3"]
    assert (fog.root, fog.test_crop) == ("/data/robustness/imagenet-c/fog/3", 1.0)
    assert "suites" not in config.model_dump()["data"]
    assert config == load_recipe(ClassificationAdapter.recipe, "transfer", "imagenet1k_knn", [SUITE + "/"]).config


def test_what_is_given_of_a_test_set_holds_above_the_suite() -> None:
    own = "data.test_sets.imagenet_a={root: /other, scored_classes: all}"
    config = load_recipe(ClassificationAdapter.recipe, "transfer", "imagenet1k_knn", [SUITE, own]).config
    changed = config.data.test_sets["imagenet_a"]
    assert (changed.root, changed.scored_classes) == ("/other", "all")
    assert config.data.test_sets["imagenet_r"].root == "/data/robustness/imagenet-r"


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(UserError, match="suites must name a folder for each of imagenet_robustness; robust: '/data'"):
        load_recipe(ClassificationAdapter.recipe, "transfer", "imagenet1k_knn", ["data.suites.robust=/data"])


def accuracy(at: int, severity: int) -> float:
    """Return the share of images of the corruption at a place of their order that is recognised, falling unevenly."""
    return 0.8 - 0.023 * at - 0.004 * severity**2


def test_mce_is_that_of_the_authors_code() -> None:
    further = {
        corrupted(name, severity): {"top1": 100 * accuracy(at, severity)}
        for at, name in enumerate(CORRUPTIONS)
        for severity in range(1, 6)
    }
    assert declared(further, TASKS["imagenet1k"]) == {"imagenet_c_mce": pytest.approx(MCE_OF_AUGMIX, abs=1e-9)}
    del further["imagenet_c_snow_2"]
    assert declared(further, TASKS["imagenet1k"]) == {}


def test_images_that_are_cropped_already_are_seen_as_they_are(tmp_path: Path) -> None:
    picture = (np.random.default_rng(0).random((32, 32, 3)) * 255).astype(np.uint8)
    for place in ("train/a", "train/b", "test/a", "test/b", "own/fog/a"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / place / f"{place.replace('/', '_')}.png")
    overrides = [f"data.root={tmp_path}", "data.test_crop=0.5"]
    overrides += [f"data.test_sets.imagenet_c_fog_1.root={tmp_path / 'own' / 'fog'}"]
    config = load_recipe(ClassificationAdapter.recipe, "transfer", "digits_linear", overrides).config
    data, source = read_classification_data(config.data, None, None), resolve(RANDOM[1])
    plan = plan_encoder(source, config)
    whole, cut = (
        evaluation_samples(images, config, plan) for images in (data.test_sets["imagenet_c_fog_1"].images, data.test)
    )
    mean, std = (torch.tensor(each)[:, None, None] for each in (plan.normalisation.mean, plan.normalisation.std))
    expected = (torch.from_numpy(picture).permute(2, 0, 1) / 255 - mean) / std
    seen = [samples.transform(Image.fromarray(picture)) for samples in (whole, cut)]
    assert torch.allclose(seen[0], expected, atol=1e-5)
    assert not torch.allclose(seen[1], expected, atol=0.1)


def test_a_data_set_of_a_suite_is_a_task_whose_classes_count_alike(small_digits: Path, tmp_path: Path) -> None:
    """Digits have ten classes, as CIFAR-10; with fewer test images of one class its mean is no longer top-1."""
    for image in sorted((small_digits / "test" / "3").iterdir())[1:]:
        image.unlink()
    command = ["transfer", "cifar10", f"data.root={small_digits}", "image_size_px=32", "k=5", "other_k=[]"]
    folder = trained([*command, "--encoder", "random:digits_swin"], tmp_path / "runs")
    metrics, hits = record_of(folder).metrics, defaultdict[str, list[bool]](list)
    for row in rows_of(folder / "predictions.csv"):
        hits[row["label"]].append(row["label"] == row["predicted"])
    assert len(hits["3"]) == 1
    assert metrics["mean_per_class"].last == pytest.approx(100 * fmean(fmean(each) for each in hits.values()))
    assert metrics["top1"].last == pytest.approx(100 * fmean(hit for each in hits.values() for hit in each))
    assert mimbench.main([*command[:1], "cub200", *command[2:], "--encoder", "random:digits_swin"]) == mimbench.WRONG
