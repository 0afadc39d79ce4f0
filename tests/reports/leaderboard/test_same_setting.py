"""What a source reports of a row's own setting stands beside the row: of the ablations as they ship, every one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.catalogue.published import load_references, load_settings
from benchmarks.config import load_recipe
from benchmarks.runs.record import DataUse, RecipeUse, RunRecord, TaskUse
from pretrain.recipe import PretrainRecipe
from reports.leaderboard.board import Request, make
from reports.leaderboard.lines import Shown
from reports.leaderboard.notes import words
from reports.tables.csv_json_parquet import typed_rows
from reports.tables.table import tables_of
from slurm.graph.entries import Pretrain
from slurm.graph.pipeline import read_pipeline
from slurm.graph.sweep import without_sweeps
from tests.reports import factory

IMAGENET = 1_281_167
"""Training images of ImageNet-1K (ILSVRC 2012)."""


def use_of(entry: Pretrain) -> RecipeUse:
    recipe = load_recipe(PretrainRecipe, "pretrain", entry.recipe, entry.all_overrides)
    resolved = recipe.config.model_dump(mode="json")
    return RecipeUse(name=recipe.name, overrides=recipe.overrides, digest=factory.sha(str(resolved)), resolved=resolved)


def both_runs(label: str, use: RecipeUse, images: int, epochs: int | None, image_size_px: int) -> list[RunRecord]:
    """Return a pretraining, and the fine-tuning of its encoder on ImageNet-1K."""
    architecture = PretrainRecipe.model_validate_json(json.dumps(use.resolved)).encoder
    source = DataUse(root="data/imagenet", fingerprint=f"{images} images, sizes 00", images=images)
    first = factory.pretrain(
        run_id=f"simmim-{use.digest[:12]}", recipe=use, data=source, exported_sha256=factory.sha(label)
    )
    encoder = factory.encoder(label, method="simmim", init_stage="self-supervised", architecture=architecture)
    encoder = encoder.model_copy(update={"epochs": epochs})
    task = TaskUse(name="imagenet1k", version=1)
    return [first, factory.transfer(label, encoder=encoder, task=task, image_size_px=image_size_px, top1=80.0)]


def report(runs: Path, records: list[RunRecord], shown: Shown = "same") -> dict[str, str | None]:
    """Return what was published of each measured row's setting, by the encoder's label."""
    for record in records:
        factory.write(runs, record)
    rows = typed_rows(make(Request((str(runs),), references=shown)))
    return {str(row["encoder"]): row.get("top1_published") for row in rows if row["kind"] == "measured"}  # type: ignore[misc]


def of_pipeline(name: str, image_size_px: int) -> list[RunRecord]:
    records = []
    for label, entry in without_sweeps(read_pipeline(Path(name))).pretrain.items():
        use = use_of(entry)
        training: Any = use.resolved["training"]
        subset: Any = use.resolved["data"]
        images = round(IMAGENET * (subset["subset"] or {"fraction": 1})["fraction"])
        records += both_runs(label, use, images, training["epochs"], image_size_px)
    return records


SOME = {
    "simmim_masking": (29, {"random32-mask_ratio=0.5": "83.0", "random-mask_patch_size_px=4-mask_ratio=0.4": "81.9"}),
    "simmim_head": (4, {"inverse_swin-size=base": "82.5", "inverse_swin-size=tiny": "82.4", "linear": "82.8"}),
    "simmim_target_resolution": (6, {"target-resolution_px=6": "82.3", "target-resolution_px=192": "82.8"}),
    "simmim_scope": (2, {"target-scope=masked": "82.8", "target-scope=full": "81.7"}),
    "simmim_targets": (8, {"tokens": "82.7", "clusters": "82.4", "bins256": "82.3", "pixels-loss=l2": "82.7"}),
    "simmim_swinv2_sizes": (15, {"steps250k-encoder=swinv2_giant_modelhub_window12": "86.12"}),
    "simmim_data_scaling": (60, {"part500k-fraction=0.1-encoder=swinv2_base_window12": "83.41"}),
}
"""How many pretrainings a pipeline has, and the accuracies of some in SimMIM's tables 1 to 5 and in MODELHUB.md."""


UNPUBLISHED = tuple(
    f"fraction={part}-encoder=swinv2_{size}" for part, size in ((0.1, "huge"), (0.1, "giant"), (0.2, "giant"))
)


@pytest.mark.parametrize("name", SOME)
def test_every_row_of_a_published_table_has_its_number_beside_it(name: str, tmp_path: Path) -> None:
    count, some = SOME[name]
    found = report(tmp_path / "runs", of_pipeline(name, 224 if "swinv2" in name or "scaling" in name else 192))
    assert len(found) == count
    assert some.items() <= found.items()
    without = {label for label, value in found.items() if not value}
    assert all(any(part in label for part in UNPUBLISHED) for label in without)


def test_another_setting_has_no_published_number(tmp_path: Path) -> None:
    """A head in a table of heads says nothing of another mask, nor of other data, lengths or image sizes."""
    plain = Pretrain(recipe="simmim_swin_base_192_100ep")
    mask = plain.model_copy(update={"overrides": ("masking.mask_ratio=0.55",)})
    records = both_runs("same", use_of(plain), IMAGENET - 100, 100, 192)
    records += both_runs("other mask", use_of(mask), IMAGENET, 100, 192)
    other_images = plain.model_copy(update={"overrides": ("training.log_every_steps=7",)})
    records += both_runs("other images", use_of(other_images), 14_197_122, 100, 192)
    larger = plain.model_copy(update={"overrides": ("training.log_every_steps=8",)})
    records += both_runs("larger images", use_of(larger), IMAGENET, 100, 224)
    found = report(tmp_path / "runs", records)
    assert {label for label, value in found.items() if value} == {"same"}
    assert found["same"] == "82.8"
    board = make(Request((str(tmp_path / "runs"),)))
    assert "top1 published (%)" in [column.title for column in tables_of(board)[0].columns]
    assert any("the row's own setting" in note for note in words(board).notes)
    without = make(Request((str(tmp_path / "runs"),), references="none"))
    assert "top1_published" not in typed_rows(without)[0]
    assert not any("the row's own setting" in note for note in words(without).notes)


def test_settings_and_published_rows_name_each_other() -> None:
    rows = [each for each in load_references() if each.protocol == "finetune"]
    for source, settings in load_settings().items():
        assert {*settings.variants} <= {each.variant for each in rows if each.source == source}
    ablations = Counter(each.variant in load_settings()[each.source].variants for each in rows if each.ablation)
    assert ablations == {True: 51}, "29 masks, 4 heads, 6 resolutions, 2 areas, 10 targets"
