"""No reader lets a damaged file pass: for every layout, each kind of tensor is removed and misshapen in turn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mimbench
from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError, WorkFailed
from tests.support.runs import only_run, record_of
from tests.transfer.checkpoint.samples import BY_NAME, SAMPLES, TRAINED, Sample, sample
from transfer.checkpoint.architecture.stated import Stated
from transfer.checkpoint.foreign import read_foreign
from transfer.checkpoint.layouts.known import LAYOUTS
from transfer.checkpoint.layouts.layout import Weights
from transfer.encoder.proof.loading import load_encoder, require_complete

# Heads, decoders, mask tokens, and buffers that follow from sizes: no part of an encoder.
BESIDE = re.compile(
    r"(head|lm_head|heads|decoder|cls_pt_layers)\..*|decoder_.*|(embeddings\.)?mask_token|masked_embed|"
    r".*relative_position_index|.*num_batches_tracked|cls_classifier\..*|classifier\.2\..*|proj|multi_scale_fusion_heads\..*|head_dist\..*|"
    r"(.*\.)?rope.*|.*\.bias_mask|distillation_classifier\..*"
)
# The rest of such a file is that of DINOv2 without registers: a note tells that it is taken for one.
CANNOT_BE_MISSED = {("dinov2_vits14_reg", "register_tokens", "removed")}


def test_every_layout_has_a_sample() -> None:
    assert {sample(name).layout for name in SAMPLES} == {layout.name for layout in LAYOUTS}


@pytest.mark.parametrize("damage", ["removed", "misshapen"])
@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_damaged_is_named_by_both_names(name: str, damage: str, tmp_path: Path) -> None:
    one = sample(name)
    assert complaint(one.without("nothing"), tmp_path, one.stated) == "", "whole, it is read without a message"
    for tensor in kinds(one):
        if (name, tensor, damage) in CANNOT_BE_MISSED:
            continue
        file = one.without(tensor) if damage == "removed" else one.misshapen(tensor)
        message = complaint(file, tmp_path, one.stated)
        own = {word for found in re.findall(r"in the file: ([^)\n]+)", message) for word in found.split(", ")}
        assert one.prefix + tensor in own, f"{tensor}: {message or 'nothing was reported'}"
        # Without its tables a BEiT is asked for absolute positions as well, which it may have in their place.
        assert own <= {one.prefix + known for known in (*one.tensors, "pos_embed")}, "no file of this kind has these"
        assert any(timm in message for timm in timm_names(one, tensor)), f"{tensor}: {message}"


def test_lost_registers_of_dinov2_are_noted(tmp_path: Path) -> None:
    one = sample("dinov2_vits14_reg")
    for file, noted in ((one.without("nothing"), False), (one.without("register_tokens"), True)):
        torch.save(file, tmp_path / "file.pth")
        notes = read_foreign(tmp_path / "file.pth").inferred.notes
        assert any("taken for DINOv2 without registers" in note for note in notes) == noted


@pytest.mark.parametrize("damage", ["removed", "misshapen"])
@pytest.mark.parametrize("name", TRAINED)
def test_transfer_stops_before_training(
    name: str, damage: str, transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = sample(name)
    tensor = [known for known in kinds(one) if one.tensors[known].ndim == 2][-1]
    path = tmp_path / "damaged.pth"
    torch.save({"model": one.without(tensor) if damage == "removed" else one.misshapen(tensor)}, path)
    swin = "swin" in BY_NAME[one.layout].family
    patch = BY_NAME[one.layout].to_timm(one.tensors)["patch_embed.proj.weight"].shape[-1]
    more = ["image_size_px=48", "window_size=3"] if swin else [f"image_size_px={3 * patch}"]
    command = [*transfer_command, "--encoder", str(path), "--runs", str(tmp_path / "runs"), "layer_decay=1.0", *more]
    assert mimbench.main([*command, "--stage", "self-supervised"]) == mimbench.FAILED
    said = capsys.readouterr().err
    assert re.search(rf"in the file: [^)]*{re.escape(one.prefix + tensor)}\b", said)
    folder = only_run(tmp_path / "runs")
    record = record_of(folder)
    assert (record.status, record.steps) == ("failed", 0)
    assert not list((folder / "checkpoints").glob("*"))
    assert not (folder / "encoder").exists()


@pytest.mark.parametrize("name", ["huggingface-vit", "mmseg-swin", "mae_vit_base"])
def test_a_file_without_its_patch_embedding_is_a_wrong_request(
    name: str, transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No architecture can be inferred without it."""
    one = sample(name)
    (tensor,) = (known for known in one.tensors if re.search(r"patch_embed.*proj.*weight", known))
    torch.save(one.without(tensor), tmp_path / "damaged.pth")
    command = [*transfer_command, "--encoder", str(tmp_path / "damaged.pth"), "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, "--stage", "self-supervised"]) == mimbench.WRONG
    said = capsys.readouterr().err
    assert "patch_embed.proj.weight = (missing)" in said
    assert f"in the file: {one.prefix}{tensor}\n" in said
    assert not (tmp_path / "runs").exists()


def complaint(file: Weights, folder: Path, stated: Architecture | None) -> str:
    """Return the error with which building a model from `--encoder FILE` ends; empty where it is loaded whole.

    The file is one of safetensors: how each kind of file is read is proved elsewhere, and pickles take longer.
    """
    save_file(
        {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in file.items()},
        folder / "file.safetensors",
    )
    try:
        encoder = read_foreign(folder / "file.safetensors", Stated("stated", stated) if stated else None)
        model = built(encoder.inferred.architecture.model_dump_json())
        report = load_encoder(model, encoder.weights, encoder.layout.name)
        require_complete(report, "file.safetensors", encoder.names)
    except (UserError, WorkFailed) as error:
        return str(error)
    return ""


@lru_cache(maxsize=8)
def built(architecture: str) -> nn.Module:
    return build_backbone(Architecture.model_validate_json(architecture), None, whole_windows=False)


def kinds(one: Sample) -> Iterator[str]:
    """Yield one encoder tensor of each kind: numbers of stages and blocks aside, tensors are treated alike."""
    seen: set[str] = set()
    for name in one.tensors:
        kind = re.sub(r"\d+", "#", name) if re.search(r"(blocks|features|layers?[1-4]?|stages|^\d)\.", name) else name
        if not BESIDE.fullmatch(name) and kind not in seen:
            seen.add(kind)
            yield name


def timm_names(one: Sample, tensor: str) -> set[str]:
    read = BY_NAME[one.layout].to_timm
    return read(one.tensors).keys() - read({k: v for k, v in one.tensors.items() if k != tensor}).keys()
