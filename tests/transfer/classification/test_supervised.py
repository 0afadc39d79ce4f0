"""Training from random weights by a recipe of its own, and what is said where another one is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import InterpolationMode

from benchmarks.catalogue.starts import authors_recipe, default_recipe
from benchmarks.catalogue.tasks import TASKS, find_task
from benchmarks.config import load_recipe, recipe_names
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD, Architecture, InitStage, find_architecture, misfit
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.optim import build_optimizer, parameter_groups
from tests.support.command import here
from tests.support.random_weights import randomise
from tests.support.runs import record_of, trained
from transfer.classification.augment import test_transform as evaluation_transform
from transfer.classification.recipe import FinetuneRecipe
from transfer.encoder.encoder_plan import adapted

MILESTONES_OF_TORCHVISION = {0: 0.1, 29: 0.1, 30: 0.01, 59: 0.01, 60: 0.001, 89: 0.001}
"""The rate by epoch: StepLR of 0.1 every 30 epochs."""


def finetune(name: str) -> FinetuneRecipe:
    return load_recipe(FinetuneRecipe, "transfer", name).config


@pytest.mark.parametrize(
    ("task", "encoder", "recipe"),
    [
        ("imagenet1k", "swin_base_window6", "imagenet1k_swin_base_224_supervised"),
        ("imagenet1k", "swin_tiny_patch4_window7_224", "imagenet1k_swin_tiny_224_supervised"),
        ("imagenet1k", "swinv2_small_window12", "imagenet1k_swinv2_small_256_supervised"),
        ("imagenet1k", "vit_base_patch16_224", "imagenet1k_vit_base_224_deit"),
        ("imagefolder", "resnet50", "imagenet1k_resnet50_224_torchvision"),
        ("imagenet1k", "digits_swin", TASKS["imagenet1k"].recipe),
        ("digits", "digits_swin", "digits_supervised"),
        ("coco", "swin_base_window6", TASKS["coco"].recipe),
    ],
)
def test_random_weights_have_a_recipe_of_their_own(task: str, encoder: str, recipe: str) -> None:
    assert default_recipe(TASKS[task], find_architecture(encoder)) == recipe
    assert default_recipe(TASKS[task], None) == TASKS[task].recipe


def test_every_recipe_for_random_weights_exists_and_is_for_them() -> None:
    named = {recipe for task in TASKS.values() for recipe in task.from_scratch.values()}
    assert named <= set(recipe_names("transfer"))
    assert {finetune(name).starts_from for name in named} == {("random",)}


@pytest.mark.parametrize("backbone", ["Swin-T", "SwinV2-T", "ViT-B", "ResNet-50"])
def test_a_recipe_for_random_weights_builds_its_encoder(backbone: str) -> None:
    """Parameters in millions with 1000 classes, as microsoft's MODELHUB.md, DeiT's README and torchvision tell them."""
    name, millions = {
        "Swin-T": ("swin_tiny_window6", 28),
        "SwinV2-T": ("swinv2_tiny_window12", 28),
        "ViT-B": ("vit_base_patch16_224", 86),
        "ResNet-50": ("resnet50", 25.557),
    }[backbone]
    recipe = finetune(TASKS["imagenet1k"].from_scratch[backbone])
    architecture = adapted(find_architecture(name), recipe, window_assumed=True)
    with torch.device("meta"):
        model = build_backbone(architecture, recipe.image_size_px, num_classes=1000)
    assert sum(each.numel() for each in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_windows_after_imagenet_22k_are_those_of_microsofts_configuration() -> None:
    """swinv2_base_patch4_window12to16_192to256_22kto1k_ft.yaml, PRETRAINED_WINDOW_SIZES."""
    recipe = finetune("imagenet1k_swinv2_base_256_from_22k")
    found = adapted(find_architecture("swinv2_base_window12"), recipe).arguments
    assert (found["window_size"], found["pretrained_window_sizes"]) == (16, [12, 12, 12, 6])


def test_the_mark_of_a_recipe_for_other_encoders() -> None:
    for_pretrained = ("self-supervised", "supervised", "fine-tuned")
    assert misfit(for_pretrained, "random") == "trained by a fine-tuning recipe"
    assert misfit(for_pretrained, "supervised") is None
    assert misfit(["random"], "self-supervised") == "trained by a recipe for random weights"
    assert misfit(["supervised"], "self-supervised") == "trained by a recipe for supervised encoders"
    assert misfit(None, "random") is None


def test_print_shows_the_recipe_that_random_weights_get_and_warns_of_another() -> None:
    command = ["transfer", "imagenet1k", "--encoder", "random:swin_base_window6", "--print"]
    own = here(*command)
    assert "epochs: 300" in own.stdout
    assert own.stderr == ""
    other = here(*command, "--recipe", "imagenet1k_swin_base_224")
    assert "epochs: 100" in other.stdout
    assert "random:swin_base_window6 will be trained by a fine-tuning recipe" in other.stderr
    assert "its own is imagenet1k_swin_base_224_supervised" in other.stderr


@pytest.mark.parametrize(
    ("method", "stage", "size", "recipe"),
    [
        ("mae", "self-supervised", "base", "imagenet1k_vit_base_224_mae"),
        ("mae", "self-supervised", "huge", "imagenet1k_vit_huge_224_mae"),
        ("beit", "self-supervised", "large", "imagenet1k_vit_large_224_beit"),
        ("mae", "fine-tuned", "base", None),
        ("dino", "self-supervised", "base", None),
        ("mae", "self-supervised", "small", None),
    ],
)
def test_the_recipe_of_an_encoders_authors(method: str, stage: InitStage, size: str, recipe: str | None) -> None:
    """FINETUNE.md of facebookresearch/mae and get_started_for_image_classification.md of microsoft/unilm beit."""
    architecture = Architecture(name=f"vit_{size}_patch{14 if size == 'huge' else 16}_224", arguments={})
    assert authors_recipe(find_task("imagenet1k"), method, stage, architecture) == recipe
    assert authors_recipe(find_task("digits"), method, stage, architecture) is None
    assert recipe is None or recipe in recipe_names("transfer")


def test_the_recipe_of_an_encoders_authors_is_named_and_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ViT-T stands for MAE's larger ones."""
    monkeypatch.setitem(TASKS["imagenet1k"].of_authors, "mae ViT-T", "imagenet1k_vit_base_224_mae")
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    randomise(vit)
    decoder = {"mask_token": torch.zeros(1, 1, 512), "decoder_embed.weight": torch.zeros(512, 192)}
    torch.save({"model": vit.state_dict() | decoder}, tmp_path / "mae.pth")
    command = ["transfer", "imagenet1k", "--encoder", str(tmp_path / "mae.pth"), "--print"]
    shown = here(*command)
    assert "fine-tune it by --recipe imagenet1k_vit_base_224_mae" in shown.stderr
    assert "the default is imagenet1k_swin_base_192_after_100ep, the same for all encoders" in shown.stderr
    assert "image_size_px: 192" in shown.stdout
    assert "authors" not in here(*command, "--recipe", "imagenet1k_vit_base_224_mae").stderr


def test_a_run_that_started_from_random_weights_by_a_fine_tuning_recipe_is_marked(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*transfer_command, "--encoder", "random:digits_swin", "--recipe", "digits_finetune"]
    record = record_of(trained(command, tmp_path / "runs"))
    assert record.recipe.misfit == "trained by a fine-tuning recipe"
    assert "warning: random:digits_swin will be trained by a fine-tuning recipe" in capsys.readouterr().err
    report = here("report", "leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path), "--formats", "txt,json")
    assert "trained by a fine-tuning recipe" in report.stdout + (tmp_path / "leaderboard.txt").read_text()
    assert "trained by a fine-tuning recipe" in json.dumps(json.loads((tmp_path / "leaderboard.json").read_text()))


def test_a_resnet_trains_by_torchvisions_recipe(digits: Path, tmp_path: Path) -> None:
    """SGD on every parameter, steps, bilinear images: whole, on the digits."""
    command = ["transfer", "digits", "--recipe", "imagenet1k_resnet50_224_torchvision", "--encoder", "random:resnet10t"]
    command += [f"data.root={digits}", "data.test_split=test", "image_size_px=32", "training.batch_size=50"]
    command += ["training.epochs=2", "training.schedule.milestone_epochs=[1]", "training.workers=0"]
    folder = trained(command, tmp_path / "runs")
    record = record_of(folder)
    assert record.recipe.misfit is None
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in lines if "lr" in line][-1] == pytest.approx(0.01)


def test_sgd_decays_every_parameter_as_torchvisions_script_does() -> None:
    """There the optimiser gets `model.parameters()` with one weight decay; five steps end at the same weights."""
    recipe = finetune("imagenet1k_resnet50_224_torchvision")
    torch.manual_seed(0)
    ours = timm.create_model("resnet10t", num_classes=3)
    theirs = timm.create_model("resnet10t", num_classes=3)
    theirs.load_state_dict(ours.state_dict())
    groups = parameter_groups(ours, recipe.training.weight_decay, decays=lambda *_: True)
    assert [group["weight_decay"] for group in groups] == [1e-4]
    optimizer = build_optimizer(groups, recipe.training)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    for model, steps in ((ours, optimizer), (theirs, reference)):
        for _ in range(5):
            steps.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            steps.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_rate_falls_every_thirty_epochs() -> None:
    training = finetune("imagenet1k_resnet50_224_torchvision").training
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 1.0}], training)
    schedule = training.schedule.build(optimizer, training.batch_size, 90 * 5004, 5004)
    for epoch, rate in MILESTONES_OF_TORCHVISION.items():
        schedule.step_update(epoch * 5004)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_test_images_are_those_of_torchvisions_preset() -> None:
    pixels = torch.randint(0, 256, (375, 500, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(pixels.numpy())
    preset = ImageClassification(
        crop_size=224, resize_size=256, mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation=InterpolationMode.BILINEAR
    )
    ours = evaluation_transform(finetune("imagenet1k_resnet50_224_torchvision"), IMAGENET_MEAN, IMAGENET_STD)(image)
    torch.testing.assert_close(ours, preset(image))
    bicubic = evaluation_transform(finetune("imagenet1k_swin_base_224"), IMAGENET_MEAN, IMAGENET_STD)(image)
    assert not torch.allclose(ours, bicubic, atol=0.1)
