"""A model of another library, saved by it and read by us, gives the same features in timm; and so the other way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.transfer.checkpoint import swin_zoo as zoo
from tests.transfer.checkpoint.swin_zoo import BASE, CLIPPED, LAYOUTS, TINY, Foreign, Size
from transfer.checkpoint.architecture.hierarchical.infer_swin import infer_swin

TOLERANCE = 1e-5
MODELS: dict[str, Callable[[Size, int, Path], Foreign]] = {
    "timm": lambda size, version, _: zoo.of_timm(size, version),
    "torchvision": lambda size, version, _: zoo.of_torchvision(size, version),
    "huggingface": zoo.of_huggingface,
    "mmseg": lambda size, version, _: zoo.of_mmseg(size, version),
    "mmpretrain": lambda size, version, _: zoo.of_mmpretrain(size, version),
}
# Dense backbones neither clip the window nor drop the shift; torchvision does not clip it.
CASES = [
    *(
        (library, size, version)
        for library in ("timm", "torchvision", "huggingface")
        for size in (TINY, BASE)
        for version in (1, 2)
    ),
    *((library, CLIPPED, version) for library in ("timm",) for version in (1, 2)),
    ("huggingface", CLIPPED, 2),
    ("mmseg", TINY, 1),
    ("mmpretrain", TINY, 1),
    ("mmpretrain", TINY, 2),
    ("mmpretrain", CLIPPED, 2),
]


@pytest.fixture(autouse=True)
def _same_weights_in_any_order_of_tests() -> None:
    torch.manual_seed(0)  # libraries draw their initial weights from the global generator


def _id(value: object) -> str:
    return f"dim{value.embed_dim}-window{value.window}" if isinstance(value, Size) else str(value)


@pytest.mark.parametrize(("library", "size", "version"), CASES, ids=_id)
def test_read_by_us_a_foreign_model_gives_the_same_features(
    library: str, size: Size, version: int, tmp_path: Path
) -> None:
    foreign = MODELS[library](size, version, tmp_path)
    layout = zoo.recognise(foreign.saved)
    assert layout.name == foreign.layout
    weights = layout.to_timm(dict(foreign.saved))

    # SwinV2's window stands in no parameter, and dense backbones keep no image size: both are stated here.
    architecture = infer_swin(weights).architecture
    stated = {"img_size": size.image_size_px, "window_size": size.window}
    model = timm.create_model(architecture.name, num_classes=0, **{**architecture.arguments, **stated})
    model.load_state_dict(zoo.encoder_only(weights), strict=True)

    images = torch.randn(2, 3, size.image_size_px, size.image_size_px, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = foreign.features(images), model.eval().forward_features(images)
    assert expected.std() > 0.1
    assert (found - expected).abs().max().item() < TOLERANCE


@pytest.mark.parametrize(("library", "size", "version"), CASES, ids=_id)
def test_exported_by_us_an_encoder_gives_the_same_features_in_the_other_library(
    library: str, size: Size, version: int, tmp_path: Path
) -> None:
    foreign = MODELS[library](size, version, tmp_path)
    ours = randomise(zoo.timm_model(size, version), seed=7)
    write = LAYOUTS[foreign.layout].from_timm
    assert write is not None
    exported = write(dict(ours.state_dict()))

    if library == "huggingface":  # transformers renames only when it reads files
        _load_as_transformers_does(foreign.model, exported, tmp_path)
    else:
        outcome = foreign.model.load_state_dict(exported, strict=False)
        assert outcome.unexpected_keys == []
        assert [name for name in outcome.missing_keys if not _is_left_out(name, len(size.depths))] == []

    images = torch.randn(2, 3, size.image_size_px, size.image_size_px, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = ours.forward_features(images), foreign.features(images)
    assert (found - expected).abs().max().item() < TOLERANCE


def test_the_order_of_patches_in_a_merging_matters() -> None:
    """Without OpenMMLab's permutation, features are far apart: the parity above can fail."""
    model = randomise(zoo.timm_model(TINY, 1))
    weights = dict(model.state_dict())
    images = torch.randn(1, 3, TINY.image_size_px, TINY.image_size_px, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        right = model.forward_features(images)
        name = "layers.1.downsample.reduction.weight"
        permuted = LAYOUTS["mmseg-swin"].to_timm({"stages.0.downsample.reduction.weight": weights[name]})[name]
        model.load_state_dict({**weights, name: permuted})
        wrong = model.forward_features(images)
    assert (wrong - right).abs().max().item() > 0.1


def test_names_of_transformers_in_memory_are_read_too() -> None:
    """transformers 5 has other names in `state_dict()` than in its files."""
    transformers = library("transformers", "transformers")
    widths = {"embed_dim": 24, "depths": [2, 2], "num_heads": [3, 6]}
    model = randomise(transformers.SwinModel(transformers.SwinConfig(image_size=64, window_size=4, **widths)))
    weights = zoo.recognise(model.state_dict()).to_timm(dict(model.state_dict()))
    architecture = infer_swin(weights).architecture
    twin = timm.create_model(architecture.name, num_classes=0, **{**architecture.arguments, "img_size": 64}).eval()
    twin.load_state_dict(zoo.encoder_only(weights), strict=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        difference = twin.forward_features(images).flatten(1, 2) - model(images).last_hidden_state
    assert difference.abs().max().item() < TOLERANCE


def _load_as_transformers_does(model: torch.nn.Module, exported: dict[str, torch.Tensor], folder: Path) -> None:
    import safetensors.torch

    safetensors.torch.save_file(exported, folder / "model.safetensors", metadata={"format": "pt"})
    loaded, report = type(model).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    model.load_state_dict(loaded.state_dict())


def _is_left_out(name: str, stages: int) -> bool:
    """Buffers follow from the window; heads, mask token and the norms of earlier stages are no part of an encoder."""
    early_norm = any(name.startswith(f"norm{i}.") for i in range(stages - 1))
    return early_norm or name.startswith("head.") or name.rsplit(".", 1)[-1] in zoo.NOT_ENCODER
