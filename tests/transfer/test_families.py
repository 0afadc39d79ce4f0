"""Encoders beyond Swin and ViT through whole transfers, and `inspect`, which says before them what they will do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import mimbench
from benchmarks.families.own import Own
from benchmarks.families.table import FAMILIES
from tests.support.runs import only_run, record_of, trained
from tests.support.small import cut_digits, pretraining
from tests.transfer.kinds import DETECTION, SEGMENTATION
from tests.transfer.matrix.encoders import ENCODERS

RESNET = ["encoder={name: resnet10t}", "masking.mask_patch_size_px=8"]
OWN_CODE = "python:tests.support.own_encoders:tiny_cnn"
FILES = {
    "Swin": "timm, swin_tiny_patch4_window7_224",
    "SwinV2": "timm, swinv2_tiny_window8_256",
    "ViT": "timm, deit3_small_patch16_224",
    "BEiT": "timm, beit_base_patch16_224",
    "EVA": "timm, eva02_tiny_patch14_224",
    "ResNet": "timm, resnet10t",
    "MetaFormer": "timm, caformer_s18",
    "SwinV2-CR": "timm, swinv2_cr_tiny_224",
    "torchvision": "torchvision, mobilenet_v3_small",
    "video ViT": "V-JEPA 2",
}
"""By family, one of its encoders in a file; `own encoder` comes from code instead."""
OTHERS = ("timm, hiera_tiny_224", "timm, convnext_atto", "timm, maxvit_pico_rw_256", "SigLIP", "SAM", "CLIP, GELU")
"""Encoders whose family has no class of its own, or that come from elsewhere."""
AT_ONCE = ("own encoder", "timm, hiera_tiny_224", "timm, convnext_atto")


def test_every_family_is_among_them() -> None:
    assert {*FILES, Own.name} == {family.name for family in FAMILIES}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in AT_ONCE else [pytest.mark.long]) for name in (*FILES, Own.name, *OTHERS)],
)
def test_an_encoder_is_probed_trained_exported_and_used_again(
    name: str, transfer_command: list[str], tmp_path: Path
) -> None:
    """Frozen as it came, fine-tuned, and its export frozen: a report has all three."""
    root = next(each for each in transfer_command if each.startswith("data.root="))
    reference, side, more = OWN_CODE, 32, ["--architecture", OWN_CODE]
    if name != Own.name:
        torch.manual_seed(0)
        (tmp_path / "file").mkdir()
        encoder = ENCODERS[FILES.get(name, name)](tmp_path / "file")
        reference, side, more = str(encoder.folder), encoder.side_px, []
    sized, stated, runs = f"image_size_px={side}", ["--stage", "supervised"], tmp_path / "runs"
    frozen = ["transfer", "digits", "--recipe", "digits_knn", root, sized, "k=5", "other_k=[5]", "pooling=own"]
    probed = record_of(trained([*frozen, "--encoder", reference, *stated], runs / "frozen"))
    short = [sized, "training.epochs=1", "training.schedule.warmup_epochs=0", "layer_decay=0.8"]
    tuned = trained([*transfer_command, *short, "--encoder", reference, *stated], runs / "tuned")
    again = record_of(trained([*frozen, "--encoder", str(tuned), *more], runs / "again"))
    reports = [each.load_report for each in (probed, record_of(tuned), again)]
    assert all(each is not None and each.loaded == each.expected and each.complete for each in reports)
    assert again.encoder is not None
    assert again.encoder.init_stage == "fine-tuned"
    assert again.parents == (record_of(tuned).run_id,)
    assert mimbench.main(["report", "leaderboard", str(runs), "--out", str(tmp_path / "report")]) == 0
    listed = (tmp_path / "report" / "leaderboard.csv").read_text().splitlines()
    assert len(listed) == 1 + 3


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
