"""The architecture read from tensors is the one that timm built them with."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from benchmarks.encoders import find_architecture
from benchmarks.errors import UserError
from tests.transfer.checkpoint import swin_zoo as zoo
from tests.transfer.checkpoint.swin_zoo import LAYOUTS, LISTINGS
from transfer.checkpoint.architecture.hierarchical.infer_swin import infer_swin
from transfer.checkpoint.architecture.hierarchical.swin_models import SWIN, SWINV2
from transfer.checkpoint.layouts.layout import Weights

# Window, image size (None where no tensor shows it) and arguments of each listing, from its `source`.
EXPECTED: dict[str, tuple[str, int | None, int, dict[str, Any]]] = {
    "detectron2-swin-tiny": ("swin_tiny_patch4_window7_224", None, 7, {}),
    "huggingface-swin-tiny": ("swin_tiny_patch4_window7_224", None, 7, {}),
    "huggingface-swinv2-tiny": ("swinv2_tiny_window8_256", None, 8, {}),
    "microsoft-simmim-swin-base": ("swin_base_patch4_window7_224", 192, 6, {"img_size": 192, "window_size": 6}),
    "microsoft-swin-tiny": ("swin_tiny_patch4_window7_224", 224, 7, {}),
    "microsoft-swinv2-tiny": ("swinv2_tiny_window16_256", 256, 16, {}),
    "mmpretrain-swinv2-tiny": ("swinv2_tiny_window8_256", None, 8, {}),
    "mmseg-swin-tiny": ("swin_tiny_patch4_window7_224", None, 7, {}),
    "mmselfsup-simmim-swin-base": ("swin_base_patch4_window7_224", None, 6, {"img_size": 192, "window_size": 6}),
    "timm-0.6-swin-tiny": ("swin_tiny_patch4_window7_224", 224, 7, {}),
    "timm-0.6-swinv2-tiny": ("swinv2_tiny_window8_256", 256, 8, {}),
    "timm-swin-tiny": ("swin_tiny_patch4_window7_224", None, 7, {}),
    "timm-swinv2-tiny": ("swinv2_tiny_window8_256", None, 8, {}),
    "torchvision-swin-tiny": ("swin_tiny_patch4_window7_224", None, 7, {}),
    "torchvision-swinv2-tiny": ("swinv2_tiny_window8_256", None, 8, {}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_true_checkpoints_tell_name_window_and_image_size(name: str) -> None:
    listed = {key: torch.empty(shape, device="meta") for key, shape in zoo.listing(name).items()}
    inferred = infer_swin(LAYOUTS[LISTINGS[name]].to_timm(listed))
    found = (inferred.architecture.name, inferred.image_size_px, inferred.window_size, inferred.architecture.arguments)
    assert found == EXPECTED[name]
    assert inferred.patch_size_px == 4
    assert any("img" in note or "image size" in note for note in inferred.notes) == (inferred.image_size_px is None)


@pytest.mark.parametrize("known", [*SWIN, *SWINV2], ids=lambda known: known.name)
def test_every_registered_model_is_known_by_name(known: Any) -> None:
    model = _on_meta(known.name)
    inferred = infer_swin({**model.state_dict(), **_coordinates(model)})
    assert (inferred.architecture.name, inferred.architecture.arguments) == (known.name, {})


def test_no_registered_model_is_left_out() -> None:
    registered = {*timm.list_models(module="swin_transformer"), *timm.list_models(module="swin_transformer_v2")}
    assert registered == {known.name for known in (*SWIN, *SWINV2)}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("swin_large_patch4_window12_384", {"img_size": 192}),  # SimMIM's Swin-L: the last window is clipped to 6
        ("swin_base_patch4_window7_224", {"img_size": 192, "window_size": 6}),
        ("swin_tiny_patch4_window7_224", {"in_chans": 1, "mlp_ratio": 3.0, "qkv_bias": False}),
        ("swin_s3_tiny_224", {"in_chans": 4}),
        ("swinv2_base_window12to16_192to256", {"img_size": 224, "window_size": 14}),
        ("swinv2_tiny_window8_256", {"qkv_bias": False}),
    ],
)
def test_only_what_differs_from_a_registered_model_is_spelled_out(name: str, arguments: dict[str, Any]) -> None:
    model = _on_meta(name, **arguments)
    inferred = infer_swin({**model.state_dict(), **_coordinates(model)})
    assert (inferred.architecture.name, inferred.architecture.arguments) == (name, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"embed_dim": 48, "depths": (1, 2), "num_heads": (3, 6), "window_size": 5, "img_size": 80},
        {"embed_dim": 36, "depths": (2, 2, 2), "num_heads": (2, 4, 8), "window_size": (4, 8, 4), "img_size": 128},
        {"embed_dim": 24, "depths": (1, 1, 1), "num_heads": (1, 2, 4), "patch_size": 2, "img_size": 64},
        {"embed_dim": 49, "depths": (1,), "num_heads": (7,), "mlp_ratio": 103 / 49},
    ],
)
@pytest.mark.parametrize("base", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_any_encoder_is_rebuilt_and_filled_strictly(base: str, arguments: dict[str, Any]) -> None:
    model = _on_meta(base, **arguments)
    weights = {**model.state_dict(), **(_coordinates(model) if "v2" in base else {})}
    inferred = infer_swin(weights)
    twin = _on_meta(inferred.architecture.name, **inferred.architecture.arguments)
    twin.load_state_dict(model.state_dict(), strict=True)
    assert _windows(twin) == _windows(model)
    assert [layer.depth for layer in twin.layers] == [layer.depth for layer in model.layers]


def test_our_digits_encoder_is_read_back() -> None:
    architecture = find_architecture("digits_swin")
    model = _on_meta(architecture.name, **architecture.arguments, img_size=64)
    inferred = infer_swin(model.state_dict())
    assert inferred.image_size_px == 64  # the last map of 2 x 2 clips its window
    expected = {**architecture.arguments, "img_size": 64, "patch_size": 4}
    assert inferred.architecture.arguments == expected


def test_windows_of_pretraining_are_read_from_coordinates() -> None:
    pretrained = [12, 12, 12, 6]
    model = timm.create_model(
        "swinv2_tiny_window8_256", num_classes=0, embed_dim=8, num_heads=(1, 2, 4, 8), img_size=512, window_size=16,
        depths=(1, 1, 1, 1), pretrained_window_sizes=pretrained,
    )  # fmt: skip
    tables = {key: buffer for key, buffer in model.named_buffers() if key.endswith("relative_coords_table")}
    known = infer_swin({**model.state_dict(), **tables})
    assert known.architecture.arguments["pretrained_window_sizes"] == pretrained
    unknown = infer_swin(model.state_dict())
    assert "pretrained_window_sizes" not in unknown.architecture.arguments
    assert any("pretrained_window_sizes 0 assumed" in note for note in unknown.notes)


def test_one_odd_table_does_not_change_what_the_others_say() -> None:
    weights = dict(_on_meta("swin_tiny_patch4_window7_224").state_dict())
    weights["layers.2.blocks.0.attn.relative_position_bias_table"] = torch.empty(121, 12, device="meta")
    assert infer_swin(weights).architecture.arguments == {}


@pytest.mark.parametrize(
    ("odd", "shape"),
    [
        ("patch_embed.proj.weight", (97, 3, 4, 4)),
        ("layers.0.blocks.0.norm1.weight", (97,)),
        ("layers.0.blocks.0.mlp.fc1.weight", (385, 96)),
        ("layers.0.blocks.0.mlp.fc2.weight", (96, 385)),
    ],
)
def test_one_odd_size_is_outvoted(odd: str, shape: tuple[int, ...]) -> None:
    weights = dict(_on_meta("swin_tiny_patch4_window7_224").state_dict())
    weights[odd] = torch.empty(shape, device="meta")
    assert infer_swin(weights).architecture.arguments == {}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"patch_embed.proj.weight": None}, r"patch_embed\.proj\.weight"),
        ({"patch_embed.proj.weight": (96, 3, 4, 2)}, r"square kernel"),
        (
            {
                f"layers.0.blocks.{j}.mlp.{name}": None
                for j in range(2)
                for name in ("fc1.weight", "fc1.bias", "fc2.weight")
            },
            r"mlp\.fc1\.weight",
        ),
        (
            {f"layers.0.blocks.{j}.attn.relative_position_bias_table": (13 * 15, 3) for j in range(2)},
            r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table = 195 rows",
        ),
    ],
)
def test_what_cannot_be_inferred_is_a_mistake_with_a_name(
    change: dict[str, tuple[int, ...] | None], names: str
) -> None:
    weights = dict(_on_meta("swin_tiny_patch4_window7_224").state_dict())
    for key, shape in change.items():
        del weights[key]
        if shape is not None:
            weights[key] = torch.empty(shape, device="meta")
    with pytest.raises(UserError, match=names):
        infer_swin(weights)


def test_a_missing_stage_is_named() -> None:
    weights = _on_meta("swin_tiny_patch4_window7_224").state_dict()
    with pytest.raises(UserError, match=r"layers\.1"):
        infer_swin({key: tensor for key, tensor in weights.items() if not key.startswith("layers.1.")})


def _on_meta(name: str, **arguments: Any) -> Any:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0, **arguments)


def _windows(model: Any) -> list[tuple[int, int]]:
    return [layer.blocks[0].window_size for layer in model.layers]


def _coordinates(model: Any) -> Weights:
    """Return SwinV2's coordinates as microsoft's checkpoints hold them, by the paper's formula (its 3.3)."""
    tables = {}
    for name, module in model.named_modules():
        if hasattr(module, "cpb_mlp"):
            tables[f"{name}.relative_coords_table"] = _log_spaced(
                module.window_size[0], module.pretrained_window_size[0]
            )
    return tables


def _log_spaced(window: int, pretrained: int) -> Tensor:
    offsets = torch.arange(1 - window, window) * 8 / max((pretrained or window) - 1, 1)
    logs = offsets.sign() * torch.log1p(offsets.abs()) / math.log(8)
    return torch.stack(torch.meshgrid(logs, logs, indexing="ij"), dim=-1)[None]
