"""From another library's own file to dense features: what `--encoder FILE` reads, in our Encoder, computes what the
library computes, at sizes that are multiples of neither window nor patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

from benchmarks.verbs.statement import EncoderStatement
from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.transfer.encoder.witnesses import difference, images, torchvision_maps, whole_patches
from transfer.encoder.dense import Encoder, build_encoder
from transfer.encoder.proof.loading import load_encoder, require_complete
from transfer.sources.references import resolve

WIDTH, DEPTHS, HEADS = 16, [1, 2, 1, 1], [1, 2, 4, 8]
LIMIT = 1e-5


@dataclass(frozen=True)
class Witness:
    """A model of another library, saved its own way."""

    file: Path
    layout: str
    maps: Callable[[Tensor], list[Tensor]]
    """Of images [B, 3, H, W], after each stage, without output norms."""
    window: int | None = None
    """Where neither tensors nor a description tell it."""
    shift_single_windows: bool = True


def of_torchvision(version: int, folder: Path) -> Witness:
    """As their training reference saves. torchvision drops the shift along a side that one window covers."""
    window = 7 if version == 1 else 8
    kind: Any = {} if version == 1 else {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    theirs = SwinTransformer([4, 4], WIDTH, DEPTHS, HEADS, [window, window], **kind).eval()
    randomise(theirs)
    torch.save({"model": theirs.state_dict(), "epoch": 3}, folder / "model_3.pth")
    name = "torchvision-swin" if version == 1 else "torchvision-swinv2"
    maps = lambda batch: torchvision_maps(theirs, batch)  # noqa: E731
    return Witness(folder / "model_3.pth", name, maps, shift_single_windows=False)


def of_transformers(version: int, folder: Path) -> Witness:
    """As `save_pretrained` writes, config.json included.

    transformers' SwinV2 drops shifts where the map at `image_size` is one window; at 1024 pixels no map is.
    """
    transformers = library("transformers", "transformers")
    shape = {"embed_dim": WIDTH, "depths": DEPTHS, "num_heads": HEADS}
    stages = [f"stage{stage}" for stage in range(1, 5)]
    if version == 1:
        config = transformers.SwinConfig(**shape, image_size=224, window_size=7, out_features=stages)
        theirs = transformers.SwinBackbone(config).eval()
        randomise(theirs)
        theirs.save_pretrained(folder)
        for stage in theirs.hidden_states_norms:
            theirs.hidden_states_norms[stage] = nn.Identity()
    else:  # its backbone keeps no last norm, so that only the whole model's file is one of an encoder
        config = transformers.Swinv2Config(**shape, image_size=1024, window_size=8, out_features=stages)
        model = transformers.Swinv2Model(config)
        randomise(model)
        model.save_pretrained(folder)
        theirs = transformers.Swinv2Backbone.from_pretrained(folder).eval()
    name = "huggingface-swin" if version == 1 else "huggingface-swinv2"
    return Witness(folder, name, lambda batch: list(theirs(batch).feature_maps))


def of_mmseg(folder: Path) -> Witness:
    """As mmengine saves a segmentor, whose backbone this is."""
    swin = library("mmseg.models.backbones.swin", "onedl-mmsegmentation")
    theirs = swin.SwinTransformer(embed_dims=WIDTH, depths=DEPTHS, num_heads=HEADS, window_size=7)
    theirs.eval()  # returns nothing
    randomise(theirs)
    tensors = {f"backbone.{name}": tensor for name, tensor in theirs.state_dict().items()}
    head = {"decode_head.conv_seg.weight": torch.zeros(3, 16, 1, 1)}
    torch.save({"meta": {"epoch": 3}, "state_dict": {**tensors, **head}}, folder / "epoch_3.pth")
    for stage in range(4):
        setattr(theirs, f"norm{stage}", nn.Identity())
    return Witness(folder / "epoch_3.pth", "mmseg-swin", lambda batch: list(theirs(batch)))


WITNESSES: dict[str, Callable[[Path], Witness]] = {
    "torchvision Swin": lambda folder: of_torchvision(1, folder),
    "torchvision SwinV2": lambda folder: of_torchvision(2, folder),
    "transformers Swin": lambda folder: of_transformers(1, folder),
    "transformers SwinV2": lambda folder: of_transformers(2, folder),
    "mmseg Swin": of_mmseg,
}


@pytest.mark.parametrize("name", WITNESSES)
def test_the_four_stages_of_a_swin(name: str, tmp_path: Path) -> None:
    witness = WITNESSES[name](tmp_path)
    ours = read(witness)
    for height, width in ((101, 157), (200, 333)):
        with torch.no_grad():
            expected, found = witness.maps(images(height, width)), ours.features(images(height, width))
        assert len(found) == 4
        assert difference(found, expected) < LIMIT


@pytest.mark.parametrize("version", [1, 2])
def test_the_four_stages_of_timms_swin(version: int, tmp_path: Path) -> None:
    """timm itself is wrong off the window grid; on it, with more than one window a side, it is a witness of its own."""
    name, side = ("swin_tiny_patch4_window7_224", 448) if version == 1 else ("swinv2_tiny_window8_256", 512)
    theirs: Any = timm.create_model(name, num_classes=5, embed_dim=WIDTH, depths=DEPTHS, num_heads=HEADS, img_size=side)
    theirs.eval()
    randomise(theirs)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    window = None if version == 1 else 8
    layout = "timm-swin" if version == 1 else "timm-swinv2"
    ours = read(Witness(tmp_path / "model.safetensors", layout, list, window))
    with torch.no_grad():
        expected = theirs.forward_intermediates(images(side, side), intermediates_only=True)
        found = ours.features(images(side, side))
    assert difference(found, expected) < LIMIT


SIZES = [(101, 157), (200, 333)]


@pytest.mark.parametrize("kind", ["ViT", "ViTMAE"])
@pytest.mark.parametrize("size", SIZES)
def test_the_map_of_transformers_vit(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    transformers = library("transformers", "transformers")
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    config = getattr(transformers, f"{kind}Config")(**shape, image_size=64)
    theirs = getattr(transformers, "ViTMAEForPreTraining" if kind == "ViTMAE" else "ViTModel")(config).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    ours = read(Witness(tmp_path, "huggingface-vit", list))
    batch = whole_patches(images(*size), 16)
    rows, columns = batch.shape[2] // 16, batch.shape[3] // 16
    more: dict[str, Any] = {}
    encoder = theirs
    if kind == "ViTMAE":  # it shuffles patches even when it hides none; rising noise keeps their order
        encoder, config.mask_ratio = theirs.vit, 0.0
        more = {"noise": torch.arange(float(rows * columns)).repeat(2, 1)}
    with torch.no_grad():
        states = encoder(batch, interpolate_pos_encoding=True, output_hidden_states=True, **more).hidden_states[-1]
        found = ours.features(images(*size))
    expected = states[:, 1:].transpose(1, 2).reshape(2, -1, rows, columns)
    assert difference(found, [expected]) < LIMIT


@pytest.mark.parametrize("size", SIZES)
def test_the_map_of_timms_vit(size: tuple[int, int], tmp_path: Path) -> None:
    """Positions are resized by timm's own function, without the smoothing that transformers and we leave out."""
    small = {"embed_dim": 64, "depth": 2, "num_heads": 1, "num_classes": 5}
    saved: Any = timm.create_model("vit_tiny_patch16_224", **small)
    randomise(saved)
    save_file(saved.state_dict(), tmp_path / "model.safetensors")
    ours = read(Witness(tmp_path / "model.safetensors", "timm-vit", list))
    batch = whole_patches(images(*size), 16)
    grid = [side // 16 for side in batch.shape[2:]]
    theirs: Any = timm.create_model("vit_tiny_patch16_224", img_size=tuple(batch.shape[2:]), **small).eval()
    positions = resample_abs_pos_embed(saved.pos_embed, grid, num_prefix_tokens=1, antialias=False)
    theirs.load_state_dict({**saved.state_dict(), "pos_embed": positions})
    with torch.no_grad():
        expected = theirs.forward_intermediates(batch, indices=1, intermediates_only=True)
        found = ours.features(images(*size))
    assert difference(found, expected) < LIMIT


def read(witness: Witness) -> Encoder:
    """Read a file as `mimbench transfer --encoder FILE --stage supervised` does, whole or not at all."""
    source = resolve(str(witness.file), EncoderStatement(stage="supervised"))
    assert source.source_format == witness.layout
    assert source.window_assumed == (witness.window is not None)
    assert source.read is not None
    window = {} if witness.window is None else {"window_size": witness.window}
    architecture = source.use.architecture.with_arguments(**window)
    encoder = build_encoder(architecture, shift_single_windows=witness.shift_single_windows).eval()
    report = load_encoder(encoder.backbone, source.read(), source.source_format)
    require_complete(report, source.use.reference, source.names)
    assert report.resized == ()
    return encoder
