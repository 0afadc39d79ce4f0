"""The named recipes against the published configurations, and the sweeps against the tables of the paper."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import slurm
from benchmarks.config import load_recipe
from benchmarks.engine.optim import build_optimizer
from benchmarks.families.table import family_of
from pretrain.method.simmim import build_method
from pretrain.recipe import PretrainRecipe
from slurm.graph.pipeline import read_pipeline
from slurm.graph.sweep import without_sweeps

PIPELINES = Path(slurm.__file__).parent / "pipelines"
STEPS = 625
"""Steps of an epoch: 1,281,167 images of ImageNet-1K in batches of 2048."""

PUBLISHED = {
    "simmim_swin_base_192_100ep": (192, 6, 100, 0.0),
    "simmim_swin_base_192_800ep": (192, 6, 800, 0.0),
    "simmim_swin_large_192_800ep": (192, 12, 800, 0.0),
    "simmim_vit_base_224_800ep": (224, None, 800, 0.1),
    "simmim_swinv2_base_192_800ep": (192, 12, 800, 0.1),
}
"""Image size, window, epochs, drop path. Source: `configs/` of microsoft/SimMIM; SwinV2 microsoft/Swin-Transformer."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_the_published_configuration(name: str) -> None:
    size, window, epochs, drop_path = PUBLISHED[name]
    recipe = load_recipe(PretrainRecipe, "pretrain", name).config
    assert (recipe.image_size_px, recipe.training.epochs, recipe.drop_path_rate) == (size, epochs, drop_path)
    assert (recipe.masking.kind, recipe.masking.mask_patch_size_px, recipe.masking.mask_ratio) == ("random", 32, 0.6)
    training = recipe.training
    assert (training.batch_size, training.weight_decay, training.clip_grad_norm) == (2048, 0.05, 5.0)
    assert getattr(recipe.target, "local_norm_px", None) == (47 if "swinv2" in name else None)
    with torch.device("meta"):
        method = build_method(recipe, torch.device("meta"))
    assert family_of(method.model.encoder.backbone).window_size == window


@pytest.mark.parametrize("name", [name for name, (_, _, epochs, _) in PUBLISHED.items() if epochs == 800])
def test_rates_of_800_epochs(name: str) -> None:
    """SimMIM: 1e-4 x 2048 / 512 after ten epochs from 5e-7 x 2048 / 512, a tenth of it from epoch 700 on."""
    training = load_recipe(PretrainRecipe, "pretrain", name).config.training
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 1.0}], training)
    schedule = training.schedule.build(optimizer, training.batch_size, 800 * STEPS, STEPS)
    warm, low, high = 10 * STEPS, 2e-6, 4e-4
    for step in (0, 1, warm // 2, warm - 1, warm, 700 * STEPS - 1, 700 * STEPS, 800 * STEPS - 1):
        schedule.step_update(step)
        expected = low + (high - low) * step / warm if step < warm else high * (0.1 if step >= 700 * STEPS else 1)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-9)


TABLES = {"masking": 29, "head": 4, "target_resolution": 6, "scope": 2, "targets": 8}
"""Different encoders in each ablation of SimMIM (arXiv:2111.09886, tables 1 to 5)."""


@pytest.mark.parametrize("table", TABLES)
def test_a_sweep_has_every_row_of_its_table(table: str) -> None:
    file = without_sweeps(read_pipeline(PIPELINES / f"simmim_{table}.yaml"))
    assert len(file.pretrain) == len(file.encoders) == TABLES[table]
    assert file.baseline in file.encoders
    recipes = [
        load_recipe(PretrainRecipe, "pretrain", entry.recipe, entry.all_overrides).config
        for entry in file.pretrain.values()
    ]
    assert len({recipe.model_copy(update={"data": None}).model_dump_json() for recipe in recipes}) == TABLES[table]
    assert {recipe.training.epochs for recipe in recipes} == {100}


@pytest.mark.parametrize("table", [table for table in TABLES if table != "targets"])
def test_every_row_of_a_sweep_can_be_built(table: str) -> None:
    """All but the rows that need a file of the user's, with one block a stage: how many there are decides nothing."""
    file = without_sweeps(read_pipeline(PIPELINES / f"simmim_{table}.yaml"))
    for entry in file.pretrain.values():
        recipe = load_recipe(PretrainRecipe, "pretrain", entry.recipe, entry.all_overrides).config
        shallow = recipe.encoder.with_arguments(depths=[1, 1, 1, 1])
        recipe = recipe.model_copy(update={"encoder": shallow})
        with torch.device("meta"):
            assert build_method(recipe, torch.device("meta")).objective.resolution_px > 0


def test_the_sizes_of_swinv2_and_their_schedules() -> None:
    file = without_sweeps(read_pipeline(PIPELINES / "simmim_swinv2_sizes.yaml"))
    assert len(file.pretrain) == 15
    for entry in file.pretrain.values():
        recipe = load_recipe(PretrainRecipe, "pretrain", entry.recipe, entry.all_overrides).config
        steps, schedule = recipe.training.steps, recipe.training.schedule
        assert steps is not None
        assert getattr(schedule, "milestone_steps") == (steps * 7 // 8,)  # noqa: B009 (one of several schedules)


def test_each_size_of_swinv2_is_fine_tuned_by_its_own_recipe_and_the_giant_is_the_one_that_is_published() -> None:
    """MODELHUB.md: 49M, 87M, 195M, 655M, 1.06B parameters."""
    file = without_sweeps(read_pipeline(PIPELINES / "simmim_swinv2_sizes.yaml"))
    measured = {task: sorted(file.encoders_of(task)) for task in file.tasks}
    assert sorted(name for names in measured.values() for name in names) == sorted(file.encoders)
    assert {task.removeprefix("imagenet1k_") for task in measured} == {"small", "base", "large", "huge", "giant"}
    for task, names in measured.items():
        size = task.removeprefix("imagenet1k_")
        assert len(names) == 3
        assert all(f"swinv2_{size}_" in name for name in names)
        assert f"swinv2_{size}_" in str(file.tasks[task].recipe)
