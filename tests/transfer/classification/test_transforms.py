"""Test transforms of named recipes against torchvision's, put together as the originals do it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from transformers import ViTImageProcessor

import mimbench
from benchmarks.config import load_recipe
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD
from benchmarks.verbs.statement import EncoderStatement
from tests.support.runs import only_run, record_of
from tests.transfer.checkpoint.encoders import SMALL, randomised
from transfer.classification.adapter import ClassificationAdapter
from transfer.classification.augment import test_transform as made_for_tests
from transfer.encoder.encoder_plan import plan_encoder
from transfer.sources.references import resolve

SWIN_384 = ["swin_base_384_from_22k", "swin_large_384_from_22k", "swinv2_base_384_from_22k", "swin_base_384_from_224"]


def picture(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def difference(recipe: str, expected: list[transforms.Transform], image: Image.Image) -> float:
    config = load_recipe(ClassificationAdapter.recipe, "transfer", recipe).config
    ours = made_for_tests(config, IMAGENET_MEAN, IMAGENET_STD)(image)
    last = [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    theirs: torch.Tensor = transforms.Compose([*expected, *last])(image)
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("recipe", SWIN_384)
def test_swin_at_384_sees_squares_as_swins_own_code_makes_them(recipe: str) -> None:
    """`data/build.py` with TEST.CROP: False; what is cropped elsewhere is another image."""
    bicubic = InterpolationMode.BICUBIC
    name, image = f"imagenet1k_{recipe}", picture(500, 375)
    assert difference(name, [transforms.Resize((384, 384), interpolation=bicubic)], image) < 1e-5
    cropped = [transforms.Resize(438, interpolation=bicubic), transforms.CenterCrop(384)]
    assert difference(name, cropped, image) > 1


def test_v_jepas_test_images_are_resized_bilinearly() -> None:
    """`evals/image_classification_frozen/eval.py`: torchvision's default, where training images are bicubic."""
    theirs = [transforms.Resize(int(224 * 256 / 224)), transforms.CenterCrop(224)]
    assert difference("imagenet1k_attentive_vjepa", theirs, picture(500, 375)) < 1e-5
    recipe = load_recipe(ClassificationAdapter.recipe, "transfer", "imagenet1k_attentive_vjepa").config
    assert recipe.interpolation == "bicubic"


def test_a_frozen_encoders_own_test_images_are_as_its_library_makes_them(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As transformers resizes and crops by the file beside the weights; the record says by which."""
    theirs = ViTImageProcessor(size={"shortest_edge": 40}, resample=2, do_center_crop=True, crop_size=32)
    theirs.save_pretrained(tmp_path / "encoder")
    path = tmp_path / "encoder" / "preprocessor_config.json"
    said = json.loads(path.read_text()) | {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    path.write_text(json.dumps(said))
    save_file(randomised(SMALL["swin"]).state_dict(), tmp_path / "encoder" / "model.safetensors")
    own, reference = "data.test_images=own", str(tmp_path / "encoder")
    config = load_recipe(ClassificationAdapter.recipe, "transfer", "digits_knn", [own]).config
    source = resolve(reference, EncoderStatement(stage="supervised"))
    plan, image = plan_encoder(source, config), picture(48, 64)
    expected = transforms.Compose([transforms.Resize(40), transforms.CenterCrop(32), transforms.ToTensor()])(image)
    made = made_for_tests(config, (0.0,) * 3, (1.0,) * 3, plan.protocol)(image)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)

    command = ["transfer", "digits", "--recipe", "digits_knn", f"data.root={small_digits}", own]
    command += ["--stage", "supervised", "--encoder", reference]
    assert mimbench.main([*command, "other_k=[10]", "--runs", str(tmp_path / "runs")]) == 0
    words = record_of(only_run(tmp_path / "runs")).test_images
    assert words is not None
    assert words.startswith("resized to 40 px on the shorter side (bilinear), cropped to 32 px: ")
    assert words.endswith("preprocessor_config.json")
    assert mimbench.main([*command, "--print"]) == 0
    assert f"# test images are {words}" in capsys.readouterr().out
    for wrong in (["--encoder", "random:digits_swin", "other_k=[10]"], ["--recipe", "digits_finetune"]):
        assert mimbench.main([*command, *wrong, "--runs", str(tmp_path / "wrong")]) == mimbench.WRONG
    said_of_both = capsys.readouterr().err
    assert "recipe for random:digits_swin: no file beside it states how its test images are made" in said_of_both
    assert "data.test_images=own is for frozen encoders" in said_of_both
