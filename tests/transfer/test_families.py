"""Encoders beyond Swin and ViT through whole transfers, and `inspect`, which says before them what they will do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import mimbench
from benchmarks.catalogue.tasks import find_task
from benchmarks.encoders import Architecture, write_encoder
from benchmarks.engine.backbone import build_backbone
from benchmarks.families.table import family_of
from tests.support.runs import only_run, record_of, trained
from tests.support.small import cut_digits, pretraining
from tests.transfer.kinds import CLASSIFICATION, DETECTION, SEGMENTATION, Kind
from transfer.commands.inspection import would_load
from transfer.sources.opened import open_encoder

RESNET = ["encoder={name: resnet10t}", "masking.mask_patch_size_px=8"]
SMALL: dict[str, tuple[str, dict[str, Any], int]] = {
    "hiera": ("hiera_tiny_224", {"embed_dim": 24, "num_heads": 1}, 96),
    "convnext": ("convnext_atto", {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]}, 32),
    "crossvit": ("crossvit_9_240", {}, 240),
    "pit": ("pit_ti_224", {"img_size": 32}, 32),
}


@pytest.mark.parametrize("name", ["hiera", "convnext"])
def test_a_family_without_a_class_is_trained_exported_and_used_again(
    name: str, transfer_command: list[str], tmp_path: Path
) -> None:
    timm_name, arguments, side = SMALL[name]
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"name": timm_name, "arguments": arguments}))
    sized = [*transfer_command, f"image_size_px={side}", "training.epochs=1", "training.schedule.warmup_epochs=0"]
    folder = trained([*sized, "--encoder", f"random:{file}", "layer_decay=0.8"], tmp_path / "runs")
    report = record_of(folder).load_report
    assert report is not None
    root = next(each for each in transfer_command if each.startswith("data.root="))
    again = ["transfer", "digits", "--recipe", "digits_knn", root, f"image_size_px={side}", "k=5", "other_k=[5]"]
    record = record_of(trained([*again, "--encoder", str(folder)], tmp_path / "again"))
    assert record.load_report is not None
    assert record.load_report.loaded == record.load_report.expected == report.expected
    assert record.feature == "output: what the encoder's own head takes"


@pytest.mark.slow
def test_a_resnet_by_simmim_goes_to_boxes_and_scenes(
    digits: Path, digit_boxes: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its maps are taken as they are, with its running statistics; inspect has said so."""
    data = cut_digits(digits, tmp_path / "data")
    command = [*pretraining(data), *RESNET, "training.epochs=1", "training.schedule.warmup_epochs=0"]
    encoder = trained([each for each in command if not each.startswith("encoder=/")], tmp_path / "pretrained")
    capsys.readouterr()
    assert mimbench.main(["checkpoint", "inspect", str(encoder), "--json"]) == 0
    tasks = json.loads(capsys.readouterr().out)["tasks"]
    for kind, whole in ((DETECTION, digit_boxes), (SEGMENTATION, scenes)):
        kind.require()
        cut = kind.cut(whole, tmp_path / kind.name)
        runs = tmp_path / f"{kind.name}_runs"
        assert mimbench.main([*kind.command(cut), *kind.shorter, "--encoder", str(encoder), "--runs", str(runs)]) == 0
        report = record_of(only_run(runs)).load_report
        assert report is not None
        assert report.coverage_percent == tasks[kind.task]["coverage_percent"] == 100
        assert (report.loaded, report.missing) == (tasks[kind.task]["loaded"], ())


def _export(name: str, folder: Path) -> Path:
    """Write a small encoder with random weights as an export of ours; return its folder."""
    timm_name, arguments, side = SMALL[name]
    architecture = Architecture(name=timm_name, arguments=arguments)
    model = build_backbone(architecture, side)
    family = family_of(model)
    write_encoder(
        folder,
        dict(model.state_dict()),
        architecture=architecture,
        image_size_px=side,
        patch_size_px=family.patch_size_px,
        window_size=None,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        method="supervised",
        init_stage="supervised",
        epochs=1,
        recipe="none",
        recipe_digest="0" * 64,
    )
    return folder


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("crossvit", DETECTION, "feature maps of strides 4, 8, 16 and 32"),
        ("crossvit", SEGMENTATION, "feature maps of strides 4, 8, 16 and 32"),
        ("crossvit", CLASSIFICATION, "is the nearest that it takes"),
        ("pit", CLASSIFICATION, "layer_decay"),
    ],
    ids=str,
)
def test_inspect_refuses_what_a_transfer_refuses_before_training(
    name: str,
    kind: Kind,
    words: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind.require()
    encoder = _export(name, tmp_path / "encoder")
    said = would_load(open_encoder(encoder), find_task(kind.task))["error"]
    whole = kind.cut(request.getfixturevalue(kind.whole), tmp_path / "data")
    command = ["transfer", kind.task, f"data.root={whole}", "--encoder", str(encoder), "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, "training.batch_size=10"]) == mimbench.WRONG
    refused = capsys.readouterr().err
    assert words in said
    assert " ".join(refused.partition("error: ")[2].split()).startswith(said)
    assert not any((tmp_path / "runs").rglob("metrics.jsonl"))
