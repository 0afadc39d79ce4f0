"""How a foreign encoder's images are normalised: what states it, in which order, and what is refused.

What transformers makes of an image by the same file, and the published preprocessors, are the witnesses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import BeitImageProcessor, EfficientNetImageProcessor, SiglipImageProcessor, ViTImageProcessor

import mimbench
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD, Normalisation
from benchmarks.errors import UserError
from tests.support.runs import only_run, record_of
from tests.transfer.checkpoint.encoders import SMALL, randomised
from transfer.checkpoint.architecture.normalisation import published, stated_beside
from transfer.checkpoint.layouts.known import LAYOUTS

CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5,) * 3, (0.5,) * 3
IMAGENET = IMAGENET_MEAN, IMAGENET_STD
LAYOUT = {layout.name: layout for layout in LAYOUTS}


def values(found: Normalisation | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    return None if found is None else (found.mean, found.std)


def write(folder: Path, name: str, content: object) -> Path:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "model.safetensors"


def swin_file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    save_file(randomised(SMALL["swin"]).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("processor", "settings"),
    [
        (ViTImageProcessor, {}),
        (ViTImageProcessor, {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}),
        (ViTImageProcessor, {"do_normalize": False}),
        (ViTImageProcessor, {"do_rescale": False, "image_mean": [120.0] * 3, "image_std": [60.0] * 3}),
        (ViTImageProcessor, {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}),
        (EfficientNetImageProcessor, {"rescale_offset": True, "rescale_factor": 1 / 127.5, "include_top": False}),
        (SiglipImageProcessor, {}),
        (BeitImageProcessor, {}),
    ],
)
def test_images_are_what_transformers_makes_of_them_by_the_same_file(
    processor: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    made = processor(**settings, do_resize=False, do_center_crop=False)
    made.save_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    theirs = torch.as_tensor(np.asarray(made(image, return_tensors="np")["pixel_values"][0]))
    found = stated_beside(tmp_path / "model.safetensors", 3)
    assert found is not None
    assert found.stated_by == "preprocessor_config.json"
    ours = (torch.from_numpy(image).permute(2, 0, 1) / 255 - column(found.mean)) / column(found.std)
    torch.testing.assert_close(ours, theirs.float(), rtol=0, atol=1e-4 * float(theirs.abs().max()))


def column(numbers: tuple[float, ...]) -> Tensor:
    return torch.tensor(numbers).view(3, 1, 1)


def test_newer_files_and_open_clips_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "open_clip_config.json", {"preprocess_cfg": {"mean": list(CLIP[0]), "std": list(CLIP[1])}})
    assert values(stated_beside(path, 3)) == CLIP
    write(tmp_path, "processor_config.json", {"image_processor": {"image_mean": 0.5, "image_std": 0.5}})
    assert values(stated_beside(path, 3)) == HALF
    write(tmp_path, "preprocessor_config.json", {"feature_extractor_type": "Wav2Vec2FeatureExtractor"})
    assert values(stated_beside(path, 3)) == HALF, "a file that says nothing of images changes nothing"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"image_mean": [0.5] * 3, "image_std": [0.0, 0.5, 0.5]}, ["image_std", "std in", "at least 1e-06"]),
        ({"image_mean": [0.5] * 3, "image_std": [1e-320] * 3}, ["std in", "at least 1e-06"]),
        ({"image_mean": [0.5] * 4, "image_std": [0.5] * 4}, ["mean in", "3 numbers, one for each channel"]),
        ({"image_mean": ["0.5"] * 3, "image_std": [0.5] * 3}, ["mean in", "['0.5', '0.5', '0.5']"]),
        ({"image_mean": [True] * 3, "image_std": [0.5] * 3}, ["mean in"]),
        ({"image_mean": [-0.5] * 3, "image_std": [0.5] * 3}, ["mean in", "not below 0"]),
        ({"image_mean": [0.5] * 3}, ["std in", "None"]),
        ({"image_mean": {"r": 0.5}, "image_std": [0.5] * 3}, ["mean in"]),
        ({"image_mean": [0.5] * 50_000, "image_std": [0.5] * 3}, ["mean in", "..."]),
        ('{"image_mean": [0.5, 0.5, 0.5], "image_std": [NaN, 0.5, 0.5]}', ["std in"]),
        ('{"image_mean": [0.5, 0.5, 0.5], "image_std": [1e400, 0.5, 0.5]}', ["std in"]),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 0}, ["rescale_factor in"]),
        ("[1, 2]", ["a JSON object of settings"]),
        ("{", ["unreadable"]),
        ('{"x": "' + "y" * 2**20 + '"}', ["unreadable", "more than 1,048,576 bytes"]),
        ('{"x": [' + "1," * 2**16 + "1]}", ["unreadable", "more than 65,536 values"]),
        ("[" * 100_000, ["unreadable"]),
    ],
)
def test_a_file_that_states_what_cannot_be_is_refused(content: object, said: list[str], tmp_path: Path) -> None:
    path = write(tmp_path, "preprocessor_config.json", content)
    with pytest.raises(UserError) as refused:
        stated_beside(path, 3)
    words = str(refused.value)
    assert "preprocessor_config.json" in words
    assert "normalisation={mean" in words
    assert all(word in words for word in said if word != "image_std"), words
    assert len(words) < 500


def test_it_is_refused_by_the_program_before_anything_runs(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = swin_file(tmp_path / "theirs")
    write(path.parent, "preprocessor_config.json", {"image_mean": [0.5] * 3, "image_std": [0, 0, 0]})
    for command in (["checkpoint", "inspect", str(path)], [*transfer_command, "--encoder", str(path)]):
        assert mimbench.main(command) == mimbench.WRONG
        assert "std in preprocessor_config.json = [0, 0, 0]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("layout", "beside", "expected"),
    [
        ("huggingface-beit", (), HALF),
        ("beit", ("lm_head.weight", "mask_token"), HALF),
        ("beit", ("lm_head.weight", "mask_token", "cls_pt_norm.weight"), None),  # BEiT v2: ImageNet's
        ("beit", (), None),  # fine-tuned: BEiT's, BEiT v2's and SimMIM's have the same names
        ("simmim-vit", (), IMAGENET),
        ("huggingface-siglip", (), HALF),
        ("aimv2", (), CLIP),
        ("clip", (), CLIP),
        ("eva02", (), CLIP),
        ("perception-encoder", (), HALF),
        ("mae", (), IMAGENET),
        ("torchvision-vit", (), IMAGENET),
        ("huggingface-vit", (), None),  # Google's have 0.5, DINO's and MAE's ImageNet's
        ("dinov3", (), None),  # those of web images have ImageNet's, those of satellite images their own
    ],
)
def test_kinds_of_which_all_is_published_alike(layout: str, beside: tuple[str, ...], expected: object) -> None:
    assert values(published(LAYOUT[layout], beside, 3)) == expected
    assert published(LAYOUT[layout], beside, 1) is None


def test_the_record_the_inspection_and_the_printed_recipe_say_what_states_it(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = swin_file(tmp_path / "theirs")
    ids = []
    runs = tmp_path / "runs"
    for case, by in (({}, "assumed: ImageNet's"), ({"image_mean": 0.5, "image_std": 0.5}, "preprocessor_config.json")):
        if case:
            write(path.parent, "preprocessor_config.json", case)
        command = [*transfer_command, "--encoder", str(path), "--stage", "supervised"]
        capsys.readouterr()
        assert mimbench.main([*command, "--print"]) == 0
        mean = [0.5] * 3 if case else list(IMAGENET_MEAN)
        assert f"# images are normalised by mean {mean}, " in (printed := capsys.readouterr().out)
        assert by in printed.splitlines()[-1]
        assert mimbench.main([*command, "--runs", str(runs / by[:3])]) == 0
        record = record_of(only_run(runs / by[:3]))
        assert record.normalisation is not None
        assert list(record.normalisation.mean) == mean
        assert record.normalisation.stated_by.startswith(by)
        ids.append(record.run_id)
    assert len(set(ids)) == 2, "another normalisation is other work"
    capsys.readouterr()
    assert mimbench.main(["checkpoint", "inspect", str(path)]) == 0
    assert "normalisation is      preprocessor_config.json" in capsys.readouterr().out


def test_a_recipe_sets_another(transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = "normalisation={mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6]}"
    command = [*transfer_command, "--encoder", "random:digits_swin", "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, own]) == 0
    record = record_of(only_run(tmp_path / "runs"))
    assert record.normalisation is not None
    assert (record.normalisation.mean, record.normalisation.stated_by) == ((0.1, 0.2, 0.3), "the recipe")
    for wrong, said in (
        ("normalisation={mean: [0.5], std: [0.5]}", "3 numbers, one for each of the encoder's channels"),
        ("normalisation={mean: [0.5, 0.5, 0.5], std: [0.5, 0.5]}", "as many numbers"),
        ("normalisation={mean: [0.5, 0.5, 0.5], std: [0.5, 0, 0.5]}", "std"),
        ("normalisation={mean: [0.5, 0.5, 0.5]}", "std"),
    ):
        assert mimbench.main([*command, wrong]) == mimbench.WRONG
        assert said in capsys.readouterr().err
