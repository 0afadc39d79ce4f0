"""Classifiers of other libraries: our logits and accuracy beside the library's own, on the same images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, ViT_B_16_Weights

import mimbench
from tests.support.random_weights import randomise
from tests.support.runs import only_run, record_of
from tests.transfer.evaluate.libraries import LIBRARIES, Saved, simmim_swin, torchvision_swin
from tests.transfer.images.forms import scans
from tests.transfer.kinds import rows_of
from transfer.classification import headed
from transfer.classification.augment import preprocessed
from transfer.predictions.evaluation import Evaluation
from transfer.sources.headed import headed_source
from transfer.sources.preprocessing import of_torchvision


@pytest.mark.parametrize("save", LIBRARIES, ids=lambda save: save.__name__)
def test_logits_and_accuracy_are_the_librarys_own(
    save: Callable[[Path], Saved], small_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    (tmp_path / "model").mkdir()
    saved = save(tmp_path / "model")
    found: list[Evaluation] = []
    evaluate = headed.evaluate
    monkeypatch.setattr(headed, "evaluate", lambda *given: found.append(evaluate(*given)) or found[-1])
    command = ["evaluate", "digits", "--model", str(saved.model), *saved.arguments, f"data.root={small_digits}"]
    assert mimbench.main([*command, "--runs", str(tmp_path / "runs")]) == 0

    images = scans(small_digits, "test")
    with torch.no_grad():
        theirs = torch.stack([saved.logits(Image.open(path).convert("RGB")) for path, _ in images])
    assert theirs.std() > 0.05, "logits that tell the images apart"
    assert (found[0].logits - theirs).abs().max() < 1e-5 * max(1, theirs.abs().max().item())
    run = only_run(tmp_path / "runs")
    predicted = [int(row["predicted"]) for row in rows_of(run / "predictions.csv")]
    assert predicted == theirs.argmax(dim=1).tolist()
    top1 = 100 * sum(p == label for p, (_, label) in zip(predicted, images, strict=True)) / len(images)
    record = record_of(run)
    assert record.metrics["top1"].last == pytest.approx(top1)
    assert record.load_report is not None
    assert record.load_report.complete
    assert record.load_report.coverage_percent == 100
    assert record.encoder is not None
    assert record.encoder.init_stage in ("supervised", "fine-tuned")


@pytest.mark.parametrize(
    "weights",
    [ResNet50_Weights.IMAGENET1K_V1, ResNet50_Weights.IMAGENET1K_V2, ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1],
    ids=str,
)
def test_a_file_that_torchvision_publishes_is_known_by_its_sha256(weights: Any) -> None:
    """Its URL ends in the first eight digits, which torchvision's own download checks."""
    digits = weights.url.rpartition("-")[2].removesuffix(".pth")
    found = of_torchvision(digits + "0" * 56)
    assert found is not None
    transform = weights.transforms()
    how = found.preprocessing
    assert [found.image_size_px] == transform.crop_size
    assert [how.resize_px] == transform.resize_size
    assert how.interpolation == transform.interpolation.value
    assert found.published["top1"] == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    image = Image.effect_noise((150, 211), 60).convert("RGB")
    assert (preprocessed(how, found.image_size_px)(image) - transform(image)).abs().max() < 2e-6
    assert of_torchvision("0" * 64) is None


def test_a_model_of_timms_hub_through_its_cache(
    small_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hub's real cache layout with random weights of the real model, whose head is for ImageNet's classes."""
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    snapshot = tmp_path / "hub" / f"models--timm--{name}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0" * 40)
    model = randomise(timm.create_model(name))
    save_file(model.state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source = headed_source(f"timm:{name}")
    assert source.read is not None
    weights = source.read()
    assert all(tensor.equal(weights[key]) for key, tensor in model.state_dict().items())
    assert (source.num_classes, source.use.init_stage) == (1000, "fine-tuned")
    transform = create_transform(**resolve_model_data_config(model, use_test_size=True))
    image = Image.effect_noise((300, 251), 60).convert("RGB")
    ours = preprocessed(source.protocol.preprocessing, source.protocol.image_size_px)(image)
    assert (ours - transform(image)).abs().max() < 2e-6
    said = refused(capsys, "--model", f"timm:{name}", f"data.root={small_digits}", "--runs", str(tmp_path / "runs"))
    assert "classes of the head = 1000" in said


def test_further_test_sets_of_a_model_of_others(small_digits: Path, tmp_path: Path) -> None:
    """Among the classes of the set alone, as ImageNet-A and -R are scored: the others' logits are taken out."""
    saved = torchvision_swin(tmp_path)
    some = tmp_path / "some"
    for label in ("3", "5", "8"):
        shutil.copytree(small_digits / "test" / label, some / label)
    further = [f"data.test_sets.{name}.root={some}" for name in ("few", "all")]
    command = ["evaluate", "digits", "--model", str(saved.model), f"data.root={small_digits}", *saved.arguments]
    own = "data.test_sets.few.scored_classes=own"
    assert mimbench.main([*command, *further, own, "--runs", str(tmp_path / "runs")]) == 0
    few, every = rows_of(only_run(tmp_path / "runs") / "test_sets.csv")

    with torch.no_grad():
        images = sorted(some.glob("*/*.png"))
        logits = torch.stack([saved.logits(Image.open(path).convert("RGB")) for path in images])
    labels = [int(path.parent.name) for path in images]
    classes = [3, 5, 8]
    masked = [classes[at] for at in logits[:, classes].argmax(dim=1).tolist()]
    right = sum(p == label for p, label in zip(masked, labels, strict=True))
    assert float(few["top1_masked"]) == pytest.approx(100 * right / 6, abs=1e-4)
    plain = sum(p == label for p, label in zip(logits.argmax(dim=1).tolist(), labels, strict=True))
    assert float(every["top1"]) == pytest.approx(100 * plain / 6, abs=1e-4)
    assert (few["top1"], every["top1_masked"]) == ("", "")


def _file(folder: Path, weights: dict[str, Tensor]) -> Path:
    torch.save(weights, folder / "model.pth")
    return folder / "model.pth"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, task: str = "digits") -> str:
    capsys.readouterr()
    assert mimbench.main(["evaluate", task, *arguments]) == mimbench.WRONG
    said = capsys.readouterr().err
    assert "rule:" in said
    assert "remedy:" in said
    return said


def test_what_cannot_be_scored_is_refused_in_words(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, runs = f"data.root={small_digits}", ["--runs", str(tmp_path / "runs")]
    resnet: nn.Module = torchvision.models.resnet18(num_classes=12)
    path = _file(tmp_path, resnet.state_dict())
    arguments = ["--model", str(path), "--architecture", "resnet18", data, *runs]
    said = refused(capsys, *arguments)
    assert "classes of the head = 12" in said
    assert "as many as the test set has (10" in said

    headless = _file(tmp_path, {name: t for name, t in resnet.state_dict().items() if not name.startswith("fc.")})
    assert "a model with its head" in refused(capsys, "--model", str(headless), *arguments[2:])
    assert "--model = random:resnet18" in refused(capsys, "--model", "random:resnet18", data, *runs)
    assert "--model = no/such/file.pth" in refused(capsys, "--model", "no/such/file.pth", data, *runs)
    said = refused(capsys, "--model", str(path), "--config", "swin.py", data, *runs)
    assert "--config = swin.py" in said
    assert "the heads of others are not read yet" in refused(capsys, "--model", str(path), task="digit_motion")
    assert not (tmp_path / "runs").exists()
    transfer = ["transfer", "digits", "--encoder", "random:digits_swin", "--recipe", "digits_evaluate", data, *runs]
    assert mimbench.main(transfer) == mimbench.WRONG
    assert "mimbench evaluate digits --model" in capsys.readouterr().err


def test_a_tensor_that_the_file_lacks_fails_the_run(small_digits: Path, tmp_path: Path) -> None:
    """A head without its bias is not the model that was trained."""
    saved = simmim_swin(tmp_path)
    content = torch.load(saved.model, weights_only=True)
    del content["model"]["head.bias"]
    torch.save(content, saved.model)
    command = ["evaluate", "digits", "--model", str(saved.model), f"data.root={small_digits}"]
    assert mimbench.main([*command, "--runs", str(tmp_path / "runs")]) == mimbench.FAILED
    record = record_of(only_run(tmp_path / "runs"))
    assert record.status == "failed"
    assert record.load_report is not None
    assert record.load_report.missing == ("head.fc.bias",)
