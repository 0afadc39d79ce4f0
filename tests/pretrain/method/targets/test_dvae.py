"""DALL-E's dVAE encoder against a forward pass in NumPy and SciPy, from a pickled module as it is published."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.signal import correlate2d
from torch import Tensor, nn

import mimbench
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD
from benchmarks.errors import UserError
from pretrain.method.dvae import Dvae, expected_shapes, read_dvae
from pretrain.method.frame import Frame
from pretrain.method.targets import DvaeTokens
from tests.support.runs import record_of, trained

CPU = torch.device("cpu")
WIDTH, BLOCKS, VOCABULARY = 4, 2, 13


class Conv2d(nn.Module):
    def __init__(self, before: int, after: int, side: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(after, before, side, side) / (before * side * side) ** 0.5)
        self.b = nn.Parameter(torch.randn(after) / 10)


class EncoderBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        inner = after // 4
        self.id_path = Conv2d(before, after, 1) if before != after else nn.Identity()
        sizes = {"conv_1": (before, inner, 3), "conv_2": (inner, inner, 3), "conv_3": (inner, inner, 3)}
        self.res_path = nn.ModuleDict({name: Conv2d(*size) for name, size in sizes.items()})
        self.res_path["conv_4"] = Conv2d(inner, after, 1)


class Encoder(nn.Module):
    """The published module as its names have it; its forward pass is below, in NumPy."""

    def __init__(self) -> None:
        super().__init__()
        groups = {}
        for group in range(4):
            after = WIDTH * 2**group
            first = EncoderBlock(max(WIDTH, after // 2), after)
            groups[f"group_{group + 1}"] = nn.ModuleDict({"block_1": first, "block_2": EncoderBlock(after, after)})
        output = nn.ModuleDict({"conv": Conv2d(8 * WIDTH, VOCABULARY, 1)})
        self.blocks = nn.ModuleDict({"input": Conv2d(3, WIDTH, 7), **groups, "output": output})


def convolved(values: np.ndarray, layer: dict[str, np.ndarray]) -> np.ndarray:
    """Correlate [C, H, W] with kernels [K, C, k, k], zeros around the image."""
    maps = [
        sum(correlate2d(channel, kernel, mode="same") for channel, kernel in zip(values, kernels, strict=True))
        for kernels in layer["w"]
    ]
    return np.stack(maps) + layer["b"][:, None, None]


def numpy_scores(weights: dict[str, Tensor], image: np.ndarray) -> np.ndarray:
    """Return the scores [vocabulary, t, t] of one image [3, 8t, 8t] of 0 to 1, in fp64."""

    def layer(name: str) -> dict[str, np.ndarray]:
        return {part: weights[f"{name}.{part}"].double().numpy() for part in ("w", "b")}

    values = convolved(0.1 + 0.8 * image, layer("blocks.input"))
    for group in range(1, 5):
        for block in range(1, 3):
            name, own = f"blocks.group_{group}.block_{block}", values
            for number in range(1, 5):
                own = convolved(np.maximum(own, 0), layer(f"{name}.res_path.conv_{number}"))
            kept = convolved(values, layer(f"{name}.id_path")) if f"{name}.id_path.w" in weights else values
            values = kept + own / 64
        if group < 4:
            channels, rows, columns = values.shape
            values = values.reshape(channels, rows // 2, 2, columns // 2, 2).max(axis=(2, 4))
    return convolved(np.maximum(values, 0), layer("blocks.output.conv"))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A module of classes that this program cannot import, pickled whole as `encoder.pkl` is."""
    name = "dall_e.encoder"
    module: Any = types.ModuleType(name)
    parent: Any = types.ModuleType("dall_e")
    sys.modules |= {"dall_e": parent, name: module}
    before = [each.__module__ for each in (Conv2d, EncoderBlock, Encoder)]
    for each in (Conv2d, EncoderBlock, Encoder):
        each.__module__ = name
        setattr(module, each.__name__, each)
    torch.manual_seed(0)
    torch.save(Encoder(), tmp_path / "encoder.pkl", _use_new_zipfile_serialization=False)
    for each, place in zip((Conv2d, EncoderBlock, Encoder), before, strict=True):
        each.__module__ = place
    for gone in ("dall_e", name):
        del sys.modules[gone]
    return tmp_path / "encoder.pkl"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_file(Encoder().state_dict(), tmp_path / "dvae.safetensors")
    return tmp_path / "dvae.safetensors"


def test_scores_and_tokens_are_numpys(weights: Path) -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    dvae = Dvae(weights, CPU, tokens=2)
    expected = np.stack([numpy_scores(load_file(weights), image.double().numpy()) for image in images])
    np.testing.assert_allclose(dvae.scores(images).numpy(), expected, atol=1e-5)
    tokens = dvae(images)
    assert tokens.dtype == torch.int64
    assert (tokens.numpy() == expected.argmax(1)).all()
    assert (dvae.shape.vocabulary, dvae.shape.image_size_px, dvae.shape.tokens) == (VOCABULARY, 16, 2)


def test_tokens_are_the_same_under_autocast(weights: Path) -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    dvae = Dvae(weights, CPU, tokens=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = dvae(images)
    assert inside.equal(dvae(images))


def test_the_published_sizes_have_the_published_number_of_parameters() -> None:
    """The sum over the layers of openai/DALL-E's `Encoder()` with its defaults, written out by hand."""
    shapes = expected_shapes(3, 256, 2, 8192)
    by_hand = 256 * 3 * 49 + 256 + 8192 * 2048 + 8192
    for before, after in ((256, 256), (256, 512), (512, 1024), (1024, 2048)):
        inner = after // 4
        for entering in (before, after):
            by_hand += inner * entering * 9 + 2 * inner * inner * 9 + after * inner + 3 * inner + after
            by_hand += (after * entering + after) if entering != after else 0
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == by_hand == 53_786_240


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_pickled_module_becomes_weights_and_a_recipe_trains_on_its_tokens(
    published: Path, pretrain_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "dvae.safetensors"
    assert mimbench.main(["checkpoint", "tensors", str(published), "--out", str(out)]) == 0
    torch.manual_seed(0)
    expected = Encoder().state_dict()
    assert f"({len(expected)} tensors)" in capsys.readouterr().out
    found = load_file(out)
    assert found.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not tensor.equal(found[name])] == []
    command = [*pretrain_command, "training.epochs=1", "training.schedule.warmup_epochs=0"]
    run = trained([*command, f"target={{kind: dvae_tokens, weights: '{out}', resolution_px: 4}}"], tmp_path / "runs")
    assert record_of(run).status == "completed"


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_the_pickled_module_itself_is_refused_with_the_command_that_reads_it(published: Path) -> None:
    with pytest.raises(UserError, match=r"mimbench checkpoint tensors encoder\.pkl"):
        read_dvae(published)


def test_each_token_belongs_to_one_of_the_features_unless_another_number_is_asked_for(weights: Path) -> None:
    frame = Frame(32, 3, IMAGENET_MEAN, IMAGENET_STD, mask_patch_size_px=8, stride_px=8, features=16)
    assert DvaeTokens(weights=str(weights)).build(frame, CPU).resolution_px == 4
    with pytest.raises(UserError, match=r"target\.resolution_px"):
        DvaeTokens(weights=str(weights), resolution_px=3).build(frame, CPU)
    grey = Frame(32, 1, (0.5,), (0.5,), mask_patch_size_px=8, stride_px=8, features=16)
    with pytest.raises(UserError, match="as many channels as these"):
        DvaeTokens(weights=str(weights)).build(grey, CPU)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"blocks.group_3.block_2.res_path.conv_1.b": None}, "missing blocks.group_3.block_2.res_path.conv_1.b"),
        ({"blocks.group_5.block_1.id_path.w": torch.ones(1)}, "without a place blocks.group_5"),
        (
            {"blocks.group_2.block_1.id_path.w": torch.ones(8, 4, 3, 3)},
            r"found \[8, 4, 3, 3\], expected \[8, 4, 1, 1\]",
        ),
        ({"blocks.input.w": None}, "no convolution blocks.input"),
        ({"blocks.output.conv.w": torch.ones(5)}, r"blocks.output.conv.w: \[5\]"),
        ({"blocks.input.b": torch.ones(4, dtype=torch.int32)}, "int32"),
    ],
)
def test_every_tensor_must_be_there_in_its_shape_and_no_other(
    weights: Path, change: dict[str, Tensor | None], word: str
) -> None:
    changed: dict[str, Tensor | None] = {**load_file(weights), **change}
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, weights)
    with pytest.raises(UserError, match=word):
        read_dvae(weights)
