"""`mimbench show --neighbours`: scikit-learn finds the same neighbours, and NumPy the same attention."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from benchmarks.config import load_recipe
from benchmarks.errors import UserError
from tests.support import small
from tests.support.runs import trained
from tests.support.small import RANDOM
from tests.support.timm_models import FLAT
from tests.transfer.classification.features import frozen_features
from tests.transfer.kinds import CLASSIFICATION
from tests.transfer.show.reading import Read, rows_of_page
from tests.transfer.show.softmax import softmax_of
from tests.transfer.show.test_show import HOSTILE, pixels_of, refused, show
from tests.transfer.show.twin import Finished, twin
from transfer.classification.augment import test_transform as evaluation_transform
from transfer.classification.recipe import EvaluateRecipe, KnnRecipe
from transfer.encoder.model import build_model
from transfer.show.frozen.attention import attention_of
from transfer.show.frozen.neighbours import as_knn
from transfer.sources.references import resolve

VIT = f"random:{Path(__file__).with_name('small_vit.yaml')}"
NEAREST = 3


def blocks_of_page(out: Path) -> list[list[list[Read]]]:
    """Return the tables of show.html, each with its header first."""
    blocks: list[list[list[Read]]] = []
    for row in rows_of_page(out):
        if row[0].words == "image":
            blocks.append([])
        blocks[-1].append(row)
    return blocks


def words_of_neighbours(data: Path, reference: str) -> dict[str, list[str]]:
    """Return what should stand below the neighbours of every test image, as scikit-learn finds them."""
    names = {
        split: sorted(f"{split}/{p.parent.name}/{p.name}" for p in data.glob(f"{split}/*/*"))
        for split in ("train", "test")
    }
    (train, labels), (test, truth) = (frozen_features(data, split, reference) for split in ("train", "test"))
    assert labels == [int(name.split("/")[1]) for name in names["train"]]
    distances, rows = NearestNeighbors(n_neighbors=NEAREST, metric="cosine").fit(train).kneighbors(test)
    return {
        name: [
            f"{'right' if labels[row] == truth[at] else 'wrong'}: "
            f"{labels[row]}, {1 - distance:.3f}\n{names['train'][row]}"
            for distance, row in zip(distances[at], rows[at], strict=True)
        ]
        for at, name in enumerate(names["test"])
    }


def test_neighbours_are_those_of_scikit_learn_on_the_images_that_the_seed_draws(
    finished: Finished, tmp_path: Path
) -> None:
    run = finished(CLASSIFICATION)
    data, other = run.parent.parent / "data", twin(run, tmp_path / "other", HOSTILE)
    record = json.loads((other / "record.json").read_text())
    record["encoder"]["sha256"] = None  # as random weights have it
    (other / "record.json").write_text(json.dumps(record))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert show(tmp_path / "out", run, other, VIT, "--neighbours", "--nearest", NEAREST, "--images", 12) == 0
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before, "no run is changed"

    blocks = blocks_of_page(tmp_path / "out")
    assert len(blocks) == 3
    found = {reference: words_of_neighbours(data, reference) for reference in (RANDOM[1], VIT)}
    for reference, (head, *rows) in zip((RANDOM[1], RANDOM[1], VIT), blocks, strict=True):
        first = 3 if reference == VIT else 2
        assert [cell.words for cell in head[first:]] == ["nearest", "2. nearest", "3. nearest"]
        assert head[2].words == ("attention" if reference == VIT else "nearest")
        expected = found[reference]
        assert {row[0].words: [cell.words for cell in row[first:]] for row in rows}.items() <= expected.items()
        assert all(row[1].words == row[0].words.split("/")[1] for row in rows)
        assert all(len(cell.pictures) == 1 for row in rows for cell in row[1:])
    assert show(tmp_path / "predicted", run, "--images", 12) == 0
    drawn = [row[0].words for row in rows_of_page(tmp_path / "predicted")]
    assert all([row[0].words for row in block] == drawn for block in blocks)
    assert len(drawn) == 13

    page = (tmp_path / "out" / "show.html").read_text()
    assert "<script" not in page
    assert "nearest training images by <bdi>&lt;script&gt;alert(1)" in page
    assert f"nearest training images by <bdi>from scratch ({VIT})</bdi>" in page
    assert "Attention is not shown: last block of SwinTransformer = WindowAttention; rule:" in page
    names = {"show.html", "digits_neighbours.png", "digits_neighbours_2.png", "digits_neighbours_3.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


def test_a_run_that_trained_its_encoder_is_shown_by_what_it_exported(small_digits: Path, tmp_path: Path) -> None:
    run = trained([*small.classification(small_digits), "training.epochs=2", *RANDOM], tmp_path / "runs")
    assert show(tmp_path / "out", run, "--neighbours", "--nearest", NEAREST, "--images", 4) == 0
    ((_, *rows),) = blocks_of_page(tmp_path / "out")
    expected, before = words_of_neighbours(small_digits, str(run)), words_of_neighbours(small_digits, RANDOM[1])
    shown = {row[0].words: [cell.words for cell in row[2:]] for row in rows}
    assert shown.items() <= expected.items()
    assert any(before[name] != words for name, words in shown.items()), "training changes neighbours"


def test_the_page_has_the_attention_of_the_class_token_on_the_image_that_the_encoder_takes(
    small_digits: Path, tmp_path: Path
) -> None:
    where = ("--task", "digits", "--recipe", "digits_knn", "--data", f"digits={small_digits}", "--images", 5)
    assert show(tmp_path / "out", VIT, "--neighbours", *where) == 0
    ((_, *rows),) = blocks_of_page(tmp_path / "out")
    for row in rows:
        drawn = pixels_of(row[2].pictures[0])
        assert drawn.shape == (128, 256, 3)
        seen, heat = drawn[:, :128], drawn[:, 128:].sum(axis=2)
        truth = pixels_of(row[1].pictures[0])
        assert np.corrcoef(seen.ravel(), truth.ravel())[0, 1] > 0.9, "beside it stands the same image"
        patches = heat.reshape(4, 32, 4, 32).mean(axis=(1, 3)).ravel()
        weights = _expected_map(small_digits / row[0].words)
        assert row[2].words == f"{100 * weights.min():.2f} to {100 * weights.max():.2f} %"
        order = np.argsort(weights)
        assert np.all(np.diff(patches[order]) > -6), "the lighter, the more"
        assert patches[order[-1]] > patches[order[0]] + 500


def _expected_map(path: Path) -> np.ndarray:
    """Return the class token's attention to the 16 patches of a digit, from the block's input alone."""
    recipe, source = load_recipe(KnnRecipe, "transfer", "digits_knn").config, resolve(VIT)
    transform = evaluation_transform(recipe, source.normalisation.mean, source.normalisation.std)
    model = build_model(recipe, source, 0).model.eval()
    return softmax_of(model, transform(Image.open(path).convert("RGB"))[None])[0, :, 0, 1:].mean(axis=0)


@pytest.mark.parametrize(
    ("name", "arguments", "of_class_token"),
    [
        ("vit_tiny_patch16_224", {"qk_norm": True, "reg_tokens": 2}, True),
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}, False),
        ("beit_base_patch16_224", {"use_shared_rel_pos_bias": True, "use_rel_pos_bias": False}, False),
        ("beit_base_patch16_224", {"use_rel_pos_bias": True, "global_pool": "token"}, True),
        ("eva02_tiny_patch14_224", {"patch_size": 16, "global_pool": "token", "qkv_fused": True}, True),
    ],
)
def test_attention_is_the_softmax_that_numpy_computes_from_the_blocks_input(
    name: str, arguments: dict[str, Any], of_class_token: bool
) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **{**FLAT, **arguments}).eval()
    for parameter in model.parameters():  # so that norms, biases and tables have a part in it
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(2, 3, 96, 96)
    expected, output = softmax_of(model, images).mean(axis=1), model.forward_features(images)
    prefix = model.num_prefix_tokens
    rows = expected[:, 0, prefix:] if of_class_token else expected[:, prefix:, prefix:].mean(axis=1)
    attended = attention_of(model, images)
    assert attended.of_class_token is of_class_token
    np.testing.assert_allclose(attended.maps.numpy(), rows.reshape(2, 6, 6), rtol=1e-3, atol=1e-6)
    assert torch.equal(model.forward_features(images), output), "the model runs as before"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2, "embed_dim": 16}),
        ("convnext_atto", {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}),
        ("vit_relpos_small_patch16_224", FLAT),
        ("resnet18", {}),
    ],
)
def test_encoders_without_attention_among_all_patches_are_refused(name: str, arguments: dict[str, Any]) -> None:
    model = timm.create_model(name, num_classes=0, **arguments).eval()
    with pytest.raises(UserError, match=r"last block of .*\n  rule:   attention among all patches.*\n  remedy: none"):
        attention_of(model, torch.zeros(1, 3, 64, 64))


def test_hostile_names_of_classes_and_what_is_wrong_with_a_request(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(small_digits, data)
    for file in [file for folder in (data / "train").iterdir() for file in sorted(folder.iterdir())[1:]]:
        file.unlink()
    for split in ("train", "test"):
        (data / split / "3").rename(data / split / "<img src=x onerror=alert(1)> $\\frac$ \u202eevil")
    where = ("--recipe", "digits_knn", "--data", f"digits={data}", "--task", "digits")
    assert show(tmp_path / "there", VIT, "--neighbours", *where, "--images", 20, "--nearest", 10) == 0
    page = (tmp_path / "there" / "show.html").read_text()
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt; $\\frac$ \\u202eevil, ") == 20, (
        "each image has all ten near it"
    )

    said = refused(capsys, out, VIT, "--neighbours", *where, "--nearest", 11)
    assert "--nearest = 11\n  rule:   at most the number of training images that can be read (10)" in said
    assert "--task = (not given)" in refused(capsys, out, VIT, "--neighbours")
    assert "--nearest = 17\n  rule:   1 to 16" in refused(capsys, out, VIT, "--neighbours", "--nearest", 17)
    assert "--nearest = 2\n  rule:   for --neighbours alone" in refused(capsys, out, data, "--nearest", 2)
    assert "--disagree = with --neighbours" in refused(capsys, out, VIT, "--neighbours", "--disagree")
    assert "images have classes" in refused(capsys, out, VIT, "--neighbours", "--task", "digit_scenes")


def test_a_recipe_without_training_images_is_refused() -> None:
    recipe = EvaluateRecipe.model_construct(protocol="evaluate")
    with pytest.raises(UserError, match="protocol = evaluate\n  rule:   a protocol that has training images"):
        as_knn(recipe, "auto")
