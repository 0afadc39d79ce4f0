"""Every named transfer recipe is complete, and shows of which kind it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.config import RECIPES, Config, Family, Recipe, load_recipe, recipe_names
from benchmarks.errors import UserError
from transfer.classification.adapter import ClassificationAdapter
from transfer.classification.frozen.recipe import AttentiveRecipe, FewShotRecipe, LogisticRecipe
from transfer.classification.recipe import EvaluateRecipe, FinetuneRecipe, KnnRecipe, LinearRecipe
from transfer.correspondence.adapter import CorrespondenceAdapter
from transfer.correspondence.recipe import NearestPatchRecipe
from transfer.depth.adapter import DepthAdapter
from transfer.depth.recipe import LinearDepthRecipe
from transfer.detection.adapter import DetectionAdapter
from transfer.detection.recipe import DetectionRecipe, EvaluateDetectionRecipe, FrozenDetectionRecipe
from transfer.multilabel.adapter import MultilabelAdapter
from transfer.multilabel.recipe import SvmRecipe
from transfer.segmentation.adapter import SegmentationAdapter
from transfer.segmentation.recipe import (
    EvaluateSegmentationRecipe,
    KnnSegmentationRecipe,
    LinearSegmentationRecipe,
    SegmentationRecipe,
)
from transfer.video.adapter import VideoAdapter
from transfer.video.recipe import AttentiveVideoRecipe, VideoRecipe

FAMILY = ClassificationAdapter.recipe
BY_WORD = {
    "logistic": LogisticRecipe,
    "few": FewShotRecipe,
    "linear": LinearRecipe,
    "attentive": AttentiveRecipe,
    "knn": KnnRecipe,
    "evaluate": EvaluateRecipe,
}
SEGMENTATION = (
    SegmentationAdapter.recipe,
    SegmentationRecipe,
    {"linear": LinearSegmentationRecipe, "knn": KnnSegmentationRecipe, "evaluate": EvaluateSegmentationRecipe},
)
DETECTION = (
    DetectionAdapter.recipe,
    DetectionRecipe,
    {"frozen": FrozenDetectionRecipe, "evaluate": EvaluateDetectionRecipe},
)
DEPTH = (DepthAdapter.recipe, LinearDepthRecipe, {})
PAIRS = (CorrespondenceAdapter.recipe, NearestPatchRecipe, {})
MULTILABEL = (MultilabelAdapter.recipe, SvmRecipe, {})
VIDEO = (VideoAdapter.recipe, VideoRecipe, {"attentive": AttentiveVideoRecipe})
BY_DATA: dict[str, tuple[Family[Config] | type[Config], type[Config], Mapping[str, type[Config]]]] = {
    "ade20k": SEGMENTATION,
    "imagemasks": SEGMENTATION,
    "digit_scenes": SEGMENTATION,
    "coco": DETECTION,
    "digit_boxes": DETECTION,
    "kinetics400": VIDEO,
    "ssv2": VIDEO,
    "digit_motion": VIDEO,
    "nyuv2_depth": DEPTH,
    "digit_depths": DEPTH,
    "spair71k": PAIRS,
    "digit_pairs": PAIRS,
    "voc2007": MULTILABEL,
    "digit_labels": MULTILABEL,
}
"""Of each data set that is not for classification of images: all recipes, the usual one, others by a word in names."""


@pytest.mark.parametrize("name", recipe_names("transfer"))
def test_a_recipe_is_of_the_kind_its_name_says_and_can_be_passed_back_in(name: str, tmp_path: Path) -> None:
    known = next((kind for data, kind in BY_DATA.items() if name.startswith(data)), None)
    schema, usual, words = known or (FAMILY, FinetuneRecipe, BY_WORD)
    recipe: Recipe[Any] = load_recipe(schema, "transfer", name)
    kind = next((kind for word, kind in words.items() if word in name.split("_")), usual)
    assert type(recipe.config) is kind
    assert (RECIPES / "transfer" / f"{name}.yaml").read_text().startswith("# ")
    copy = tmp_path / "copy.yaml"
    copy.write_text(recipe.to_yaml())
    again = load_recipe(schema, "transfer", str(copy))
    assert again.config == recipe.config
    assert again.config.identity_digest() == recipe.config.identity_digest()


def test_without_a_protocol_it_is_fine_tuning() -> None:
    assert "protocol" not in (RECIPES / "transfer" / "digits_finetune.yaml").read_text()
    assert load_recipe(FAMILY, "transfer", "digits_finetune").config.protocol == "finetune"


def test_where_it_runs_does_not_change_what_a_nearest_neighbour_run_is() -> None:
    here, there = (
        load_recipe(FAMILY, "transfer", "imagenet1k_knn", overrides).config
        for overrides in ([], ["inference.batch_size=8", "inference.workers=0", "inference.device=cpu"])
    )
    assert here.identity_digest() == there.identity_digest()
    other = load_recipe(FAMILY, "transfer", "imagenet1k_knn", ["temperature=0.1"]).config
    assert other.identity_digest() != here.identity_digest()


def test_an_unknown_protocol_is_explained() -> None:
    with pytest.raises(UserError, match=r"protocol = knnn\n  rule:   one of .*\n  remedy: Did you mean knn\?"):
        load_recipe(FAMILY, "transfer", "digits_knn", ["protocol=knnn"])
