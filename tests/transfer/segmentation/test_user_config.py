"""A user's own mmsegmentation config: what is taken, what is adapted, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import mimbench
from benchmarks.config import load_recipe
from benchmarks.errors import UserError
from tests.support.runs import only_run, record_of
from transfer.segmentation.plans.user_config import config_digest
from transfer.segmentation.plans.user_plan import plan_of_config
from transfer.segmentation.recipe import SegmentationRecipe

CHANNELS = (32, 64, 128, 256)
BASE = """
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", mean=[1, 2, 3], std=[4, 5, 6], size=(64, 64)),
    backbone=dict(type="ResNetV1c", depth=50),
    pretrained="open-mmlab://resnet50_v1c",
    decode_head=dict(
        type="FPNHead", in_channels=[256, 512, 1024, 2048], in_index=[0, 1, 2, 3], feature_strides=[4, 8, 16, 32],
        channels=24, num_classes=11, norm_cfg=dict(type="SyncBN"),
        loss_decode=[dict(type="CrossEntropyLoss"), dict(type="DiceLoss", loss_weight=0.5)]),
    auxiliary_head=[dict(type="FCNHead", in_channels=512, in_index=1, channels=8, num_convs=1, num_classes=11)],
    test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(40, 40)))
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01))
"""
PIPELINES = """
_base_ = "base.py"
train_dataloader = dict(dataset=dict(type="RepeatDataset", times=4, dataset=dict(type="ADE20KDataset", pipeline=[
    dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="RandomCrop", crop_size=(64, 64)), dict(type="PackSegInputs")])))
test_pipeline = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(96, 96), keep_ratio=True),
    dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
tta_pipeline = [dict(type="LoadImageFromFile"), dict(type="TestTimeAug", transforms=[
    [dict(type="Resize", scale_factor=r, keep_ratio=True) for r in (0.5, 1.0, 1.5)],
    [dict(type="RandomFlip", prob=0.0, direction="horizontal"), dict(type="RandomFlip", prob=1.0)],
    [dict(type="LoadAnnotations")], [dict(type="PackSegInputs")]])]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "base.py").write_text(BASE)
    path = tmp_path / "mine.py"
    path.write_text(PIPELINES)
    return path


def recipe(config: Path, *overrides: str) -> SegmentationRecipe:
    chosen = f"mmseg_config={json.dumps(str(config))}"
    return load_recipe(SegmentationRecipe, "transfer", "digit_scenes_finetune", [chosen, *overrides]).config


def test_heads_losses_and_pipelines_are_taken(config: Path) -> None:
    plan = plan_of_config(recipe(config, "testing.multi_scale=[1.0]"), CHANNELS, 11)
    assert plan.model["decode_head"]["in_channels"] == list(CHANNELS)
    assert plan.model["auxiliary_head"][0]["in_channels"] == 64
    assert [loss["type"] for loss in plan.model["decode_head"]["loss_decode"]] == ["CrossEntropyLoss", "DiceLoss"]
    assert not {"backbone", "pretrained", "data_preprocessor"} & plan.model.keys()
    assert plan.preprocessor == {"size": (64, 64), "seg_pad_val": 255}, "mean and std are the encoder's"
    assert [step["type"] for step in plan.train_pipeline] == ["RandomCrop", "PackSegInputs"]
    assert [step["type"] for step in plan.test_pipeline] == ["Resize", "PackSegInputs"]
    assert len(plan.multi_scale) == 6, "3 scales, 2 directions"
    assert "optimiser, schedule, length and batch are the recipe's" in plan.notes[0]


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        (
            ("num_classes=11, norm", "num_classes=19, norm"),
            "model.decode_head.num_classes = 19",
            "11, as the task says",
        ),
        (("in_index=1,", "in_index=4,"), "model.auxiliary_head[0].in_index = 4", "levels 0 to 3"),
        (("decode_head=", "other_head="), "model = ", "a decode_head"),
        (("model = dict(", "modell = dict("), "mmseg_config = ", "model is missing"),
        (("dict(mode=", "dict(mode="[:-1]), "mmseg_config = ", "a config file that mmengine can read"),
    ],
)
def test_unfit_configs_are_explained(config: Path, change: tuple[str, str], field: str, rule: str) -> None:
    base = config.with_name("base.py")
    base.write_text(base.read_text().replace(*change))
    with pytest.raises(UserError) as caught:
        plan_of_config(recipe(config), CHANNELS, 11)
    assert field in str(caught.value)
    assert rule in str(caught.value)


def test_a_config_without_multi_scale_says_so(config: Path) -> None:
    config.write_text(config.read_text().replace("tta_pipeline", "other_pipeline"))
    with pytest.raises(UserError, match="a tta_pipeline with TestTimeAug"):
        plan_of_config(recipe(config, "testing.multi_scale=[1.0]"), CHANNELS, 11)


def test_a_yaml_config_says_the_same(config: Path) -> None:
    from mmengine.config import Config

    other = config.with_suffix(".yaml")
    found = Config.fromfile(config).to_dict()
    other.write_text(yaml.safe_dump(json.loads(json.dumps(found))))
    assert (
        plan_of_config(recipe(other), CHANNELS, 11).model.keys()
        == plan_of_config(recipe(config), CHANNELS, 11).model.keys()
    )


def test_the_digest_is_that_of_what_is_taken(config: Path, tmp_path: Path) -> None:
    before, elsewhere = recipe(config).identity_digest(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("base.py", "mine.py"):
        (elsewhere / name).write_text((tmp_path / name).read_text())
    assert recipe(elsewhere / "mine.py").identity_digest() == before, "the path is no part of it"
    base = config.with_name("base.py")
    base.write_text(base.read_text().replace("lr=0.01", "lr=0.02"))
    assert config_digest(str(config)) == config_digest(str(elsewhere / "mine.py")), "the optimiser is not taken"
    base.write_text(base.read_text().replace("channels=24", "channels=16"))
    assert recipe(config).identity_digest() != before, "files it is based on count"


def test_a_run_with_a_config_of_ones_own(
    config: Path, segment_command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [*segment_command, "--encoder", "random:digits_swin", "--config", str(config)]
    assert mimbench.main([*command, "--runs", str(tmp_path / "runs")]) == 0
    record = record_of(only_run(tmp_path / "runs"))
    assert record.recipe.resolved["mmseg_config"] == str(config)
    assert record.metrics.keys() == {"mIoU", "mAcc", "aAcc"}
    assert "optimiser, schedule, length and batch are the recipe's" in capfd.readouterr().err


def test_other_tasks_have_no_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["transfer", "digits", "--encoder", "random:digits_swin", "--config", str(config)]) == 2
    assert "for tasks whose engine has config files (digits has none)" in capsys.readouterr().err
