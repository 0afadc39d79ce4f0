"""Damaged files are told in the names that their owners see in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.errors import UserError, WorkFailed
from tests.transfer.checkpoint import swin_zoo
from transfer.checkpoint.convert import encoder_tensors
from transfer.loading import load_encoder, percent, require_complete

CASES = {
    "huggingface-swin": "encoder.layers.0.blocks.0.attention.self.key.weight",
    "torchvision-swin": "features.1.0.norm1.weight",
}


@pytest.mark.parametrize("layout", CASES)
def test_what_is_missing_is_named_as_in_the_file(layout: str, tmp_path: Path) -> None:
    name = CASES[layout]
    size = swin_zoo.TINY
    foreign = swin_zoo.of_torchvision(size, 1) if "torch" in layout else swin_zoo.of_huggingface(size, 1, tmp_path)
    saved = dict(foreign.saved)
    del saved[name]
    model = swin_zoo.timm_model(size, 1)
    report = load_encoder(model, swin_zoo.LAYOUTS[layout].to_timm(saved), layout)
    with pytest.raises(WorkFailed) as caught:
        require_complete(report, "x", model)
    missing = next(line for line in str(caught.value).splitlines() if "missing" in line)
    assert missing.endswith(f"(in the file: {name})")


def test_only_what_is_whole_reads_a_hundred() -> None:
    assert (percent(100.0), percent(99.999)) == ("100.0 %", "99.9 %")


def test_convert_names_a_misshapen_table_as_in_the_file() -> None:
    from benchmarks.encoders import find_architecture
    from benchmarks.engine.backbone import build_backbone

    architecture = find_architecture("digits_swin")
    weights = build_backbone(architecture, 64).state_dict()
    weights["layers.0.blocks.0.attn.relative_position_bias_table"] = torch.zeros(26, 2)
    with pytest.raises(
        UserError, match=r"in the file: stages\.0\.blocks\.0\.attn\.w_msa\.relative_position_bias_table"
    ):
        encoder_tensors(weights, architecture, 64, "mmseg-swin")
