"""The plan of a user's own mmsegmentation config around our encoder: its heads, losses, pipelines and test_cfg."""

from __future__ import annotations

import itertools
from typing import Any

from benchmarks.errors import UserError
from transfer.segmentation.plans.plan import Pipeline, Plan, adapted_head, ignored_label
from transfer.segmentation.plans.user_config import read_parts
from transfer.segmentation.recipe import SegmentationRecipe

LOADERS = ("LoadImageFromFile", "LoadAnnotations")
"""Transforms left out of pipelines: this program reads images and masks itself, and counts their faults."""
OURS = ("mean", "std", "bgr_to_rgb", "rgb_to_bgr", "type")
"""Arguments of the data preprocessor that follow from the encoder, not from the config."""


def plan_of_config(recipe: SegmentationRecipe, channels: tuple[int, ...], num_classes: int) -> Plan:
    """Return the plan of the recipe's config. Raises UserError for a file that mmseg or this program cannot use."""
    assert recipe.mmseg_config is not None
    parts = read_parts(recipe.mmseg_config)
    model = dict(parts["model"])
    preprocessor = model.pop("data_preprocessor", None) or {}
    notes = [
        f"{recipe.mmseg_config}: optimiser, schedule, length and batch are the recipe's; the backbone is --encoder"
    ]
    for name in ("backbone", "pretrained", "init_cfg"):
        model.pop(name, None)
    if (neck := model.pop("neck", None)) is not None:
        notes.append(f"model.neck ({neck.get('type')}) is left out: the encoder gives maps of strides 4, 8, 16 and 32")
    for name in ("decode_head", "auxiliary_head"):
        if model.get(name):
            model[name] = _heads(model[name], channels, num_classes, f"model.{name}")
    if "decode_head" not in model:
        raise UserError.about("model", sorted(model), "a decode_head (an EncoderDecoder)", "name such a config")
    return Plan(
        model,
        _without_loaders(parts["train_pipeline"]),
        _without_loaders(parts["test_pipeline"]),
        _augmented(parts["tta_pipeline"], recipe),
        {
            "seg_pad_val": ignored_label(num_classes),
            **{name: value for name, value in preprocessor.items() if name not in OURS},
        },
        tuple(notes),
    )


def _heads(heads: Any, channels: tuple[int, ...], num_classes: int, where: str) -> Any:
    if isinstance(heads, dict):
        return adapted_head(heads, channels, num_classes, where)
    return [adapted_head(head, channels, num_classes, f"{where}[{i}]") for i, head in enumerate(heads)]


def _without_loaders(pipeline: Pipeline) -> Pipeline:
    return [step for step in pipeline if step.get("type") not in LOADERS]


def _augmented(pipeline: Pipeline | None, recipe: SegmentationRecipe) -> list[Pipeline]:
    """Return a pipeline for each combination that the config's TestTimeAug would run.

    Raises UserError where the recipe asks for several scales and the config has none.
    """
    if not recipe.testing.multi_scale:
        return []
    steps = [step for step in pipeline or [] if step.get("type") == "TestTimeAug"]
    if not steps:
        rule = "a tta_pipeline with TestTimeAug in the config"
        remedy = "add one, or set testing.multi_scale=[]"
        raise UserError.about("testing.multi_scale", recipe.testing.multi_scale, rule, remedy)
    choices = [kept for group in steps[0]["transforms"] if (kept := _without_loaders(group))]
    return [list(combination) for combination in itertools.product(*choices)]
