"""Files as authors publish them: one layout each, the published architecture, and what timm's own converters make."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pydantic import JsonValue

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from tests.transfer.checkpoint.official.files import OFFICIAL
from transfer.checkpoint.architecture.infer import infer
from transfer.checkpoint.architecture.inferred import Inferred
from transfer.checkpoint.architecture.published import known_of_openai
from transfer.checkpoint.content.state_dict import find_weights
from transfer.checkpoint.foreign import read_foreign
from transfer.checkpoint.layouts.known import identify


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_true_names_and_shapes_give_the_published_architecture(name: str) -> None:
    one = OFFICIAL[name]
    found = find_weights(one.file(small=False))
    assert found.prefix == one.wrapper + one.prefix
    layout = identify(found.tensors)
    assert layout.name == one.layout
    weights = layout.to_timm(found.tensors)
    inferred = infer(layout, weights, known_of_openai(found.beside))
    counted: dict[str, JsonValue] = {"ref_feat_shape": None} if one.layout == "perception-encoder" else {}
    assert inferred.architecture == Architecture(name=one.published, arguments=counted)
    with torch.device("meta"):
        model = build_backbone(inferred.architecture, None, whole_windows=False)
    absent = _norms_as_built(inferred)
    expected = {key: tensor.shape for key, tensor in model.state_dict().items() if key not in absent}
    assert {key: tensor.shape for key, tensor in weights.items()} == expected


@pytest.mark.parametrize("name", [name for name in OFFICIAL if name not in ("V-JEPA 2", "VideoMAE")])
def test_tensors_are_those_of_timms_own_converter(name: str, tmp_path: Path) -> None:
    """timm's converters were written for the files themselves."""
    one = OFFICIAL[name]
    file = one.file()
    torch.save({"model": file}, tmp_path / "file.pth")
    read = read_foreign(tmp_path / "file.pth")
    assert read.layout.name == one.layout
    model: Any = build_backbone(read.inferred.architecture, None, whole_windows=False)
    model.load_state_dict(read.weights, strict=True)
    convert: Any = sys.modules[timm.model_entrypoint(one.published).__module__].checkpoint_filter_fn
    converted = convert({key.removeprefix(one.wrapper): tensor for key, tensor in file.items()}, model)
    theirs = {key: tensor for key, tensor in converted.items() if key in model.state_dict()}
    assert theirs.keys() == read.weights.keys() - _norms_as_built(read.inferred)
    assert all(read.weights[key].equal(tensor) for key, tensor in theirs.items())


@pytest.mark.parametrize("name", ["PE core", "PE spatial"])
def test_perception_encoders_of_any_size_have_whole_rotary_positions(name: str, tmp_path: Path) -> None:
    """Rope2D of perception_models `core/vision_encoder/rope.py` counts patches; timm's divides by a grid of its own."""
    one = OFFICIAL[name]
    torch.save({"model": one.file()}, tmp_path / "file.pth")
    architecture = read_foreign(tmp_path / "file.pth").inferred.architecture
    published: Any = build_backbone(Architecture(name=one.published), None)
    side = published.patch_embed.grid_size[0]
    counted = published.rope.get_embed((side, side)).reshape(side, side, -1)[:8, :8]
    built, larger = (build_backbone(architecture, px) for px in (None, 8 * published.patch_embed.patch_size[0]))
    dynamic = build_backbone(architecture, None, whole_windows=False)
    for model, grid in ((built, 4), (larger, 8), (dynamic, 7)):
        rope: Any = model.rope
        found = rope.get_embed((grid, grid)).reshape(grid, grid, -1)
        torch.testing.assert_close(found, counted[:grid, :grid], rtol=0, atol=1e-5)


def _norms_as_built(inferred: Inferred) -> set[str]:
    return {f"{norm}.{part}" for norm in inferred.norms_as_built for part in ("weight", "bias")}
