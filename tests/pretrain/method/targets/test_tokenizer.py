"""Tokens from ONNX graphs that the tests write themselves, against NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mimbench
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD
from benchmarks.errors import UserError
from pretrain.method.frame import Frame
from pretrain.method.targets import Tokens
from pretrain.method.tokenizer import Tokenizer, TokenizerShape, read_shape
from tests.support.libraries import library
from tests.support.runs import only_run, record_of

onnx: Any = library("onnx", "onnx")
library("onnxruntime", "onnxruntime")
CPU = torch.device("cpu")
CODES = np.random.default_rng(0).standard_normal((11, 3, 8, 8)).astype(np.float32)


def write_tokenizer(
    path: Path, *, batch: str | int = "N", scores: tuple[Any, ...] = (11, 4, 4), image: tuple[Any, ...] = (3, 32, 32)
) -> Path:
    """Write a tokenizer: an image of 32 px into 4 x 4 patches of 8 px, each scored by its product with 11 codes."""
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "codes"], ["scores"], strides=[8, 8])],
        "tokenizer",
        [helper.make_tensor_value_info("images", real, [batch, *image])],
        [helper.make_tensor_value_info("scores", real, [batch, *scores])],
        [onnx.numpy_helper.from_array(CODES[:, : image[0]], "codes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def expected_tokens(images: np.ndarray) -> np.ndarray:
    patches = images.reshape(-1, 3, 4, 8, 4, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 4, 4, 192)
    found: np.ndarray = (patches.astype(np.float64) @ CODES.reshape(11, 192).T.astype(np.float64)).argmax(-1)
    return found


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "tokenizer.onnx")


def test_sizes_are_read_from_the_graph_and_tokens_are_numpys(tokenizer: Path) -> None:
    assert read_shape(tokenizer) == TokenizerShape(channels=3, image_size_px=32, vocabulary=11, tokens=4)
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = Tokenizer(tokenizer, CPU)(images)
    assert tokens.dtype == torch.int64
    assert (tokens.numpy() == expected_tokens(images.numpy())).all()


def test_loss_is_the_cross_entropy_of_hidden_tokens(tokenizer: Path) -> None:
    """The tokenizer sees the whole image on a scale of 0 to 1; only hidden tokens count."""
    frame = Frame(32, 3, IMAGENET_MEAN, IMAGENET_STD, mask_patch_size_px=8, stride_px=32, features=8)
    objective = Tokens(tokenizer=str(tokenizer)).build(frame, CPU)
    assert (objective.outputs, objective.resolution_px) == (11, 4)
    random = torch.Generator().manual_seed(0)
    shown = torch.rand(2, 3, 32, 32, generator=random)
    images = (shown - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    hidden = torch.rand(2, 4, 4, generator=random) < 0.6
    scores = torch.randn(2, 11, 4, 4, generator=random).requires_grad_()
    loss = objective.loss(scores, images, hidden.repeat_interleave(2, 1).repeat_interleave(2, 2))
    (gradient,) = torch.autograd.grad(loss, scores)

    y, classes = scores.detach().double().numpy(), expected_tokens(shown.numpy())
    shares = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
    chosen = np.take_along_axis(shares, classes[:, None], axis=1)[:, 0]
    weight = hidden.numpy() / (hidden.sum().item() + 1e-5)
    assert loss.item() == pytest.approx((-np.log(chosen) * weight).sum(), rel=1e-6)
    one_hot = np.arange(11)[None, :, None, None] == classes[:, None]
    np.testing.assert_allclose(gradient.numpy(), (shares - one_hot) * weight[:, None], atol=1e-7)


def test_larger_images_are_resized_to_the_tokenizers(tokenizer: Path) -> None:
    frame = Frame(64, 3, (0.0,) * 3, (1.0,) * 3, mask_patch_size_px=16, stride_px=32, features=8)
    objective: Any = Tokens(tokenizer=str(tokenizer)).build(frame, CPU)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(images, (4, 4, 4, 4), mode="replicate"), 9, 1)
    large = torch.nn.functional.interpolate(smooth, scale_factor=2, mode="bilinear")
    agree = (objective.classes(large).numpy() == expected_tokens(smooth.numpy())).mean()
    assert agree > 0.9


def test_a_recipe_trains_on_tokens(tokenizer: Path, pretrain_command: list[str], tmp_path: Path) -> None:
    target = f"target={{kind: tokens, tokenizer: '{tokenizer}'}}"
    assert mimbench.main([*pretrain_command, target, "--runs", str(tmp_path / "runs")]) == 0
    assert record_of(only_run(tmp_path / "runs")).status == "completed"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 8}, "N left open"),
        ({"image": (3, "H", "W"), "scores": (11, "h", "w")}, "fixed C, S, vocabulary, t"),
        ({"image": (1, 32, 32)}, "1 channels"),
    ],
)
def test_a_graph_of_another_form_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    file = write_tokenizer(tmp_path / "other.onnx", **changes)
    frame = Frame(32, 3, IMAGENET_MEAN, IMAGENET_STD, mask_patch_size_px=8, stride_px=32, features=8)
    with pytest.raises(UserError, match=words):
        Tokens(tokenizer=str(file)).build(frame, CPU)


def test_tokens_must_tile_the_masked_patches(tokenizer: Path) -> None:
    frame = Frame(32, 3, IMAGENET_MEAN, IMAGENET_STD, mask_patch_size_px=4, stride_px=32, features=8)
    with pytest.raises(UserError, match=r"tokens per side of target\.tokenizer = 4\n"):
        Tokens(tokenizer=str(tokenizer)).build(frame, CPU)


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    """A pickle among others: ONNX Runtime reads a graph or nothing."""
    file = tmp_path / "tokenizer.onnx"
    torch.save({"weights": torch.zeros(2)}, file)
    with pytest.raises(UserError, match="an ONNX graph"):
        Tokenizer(file, CPU)
