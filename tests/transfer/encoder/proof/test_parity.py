"""`mimbench checkpoint verify`: what names and shapes do not show shows in features."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

import mimbench
from benchmarks.verbs.statement import EncoderStatement
from tests.support.random_weights import randomise
from tests.support.runs import only_run, record_of
from tests.transfer.checkpoint.library_zoo import FOREIGN
from transfer.encoder.proof.parity import digit_images

SMALL = {"num_attention_heads": 2, "image_size": 32, "patch_size": 8, "hidden_size": 128, "num_hidden_layers": 3}
TIMM = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT of transformers as its authors would publish it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("published")
    config = transformers.ViTConfig(intermediate_size=256, **SMALL)
    randomise(transformers.ViTModel(config, add_pooling_layer=False)).save_pretrained(folder)
    return folder


def changed(published: Path, folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    """Write a copy of the published model with other tensors."""
    folder.mkdir()
    shutil.copy(published / "config.json", folder)
    weights = change(load_file(published / "model.safetensors"))
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    return folder


def swapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    other = {"0": "1", "1": "0"}
    return {re.sub(r"(?<=layer\.)[01]", lambda at: other[at[0]], name): each for name, each in weights.items()}


def turned(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    name = "encoder.layer.2.attention.output.dense.weight"
    return {**weights, name: weights[name].T}


def another(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(9)
    return {name: each + 0.1 * torch.randn(each.shape, generator=draw) for name, each in weights.items()}


def verify(encoder: Path, against: str, *more: str) -> int:
    return mimbench.main(["checkpoint", "verify", str(encoder), "--against", against, *more])


def test_the_same_weights_in_another_file_are_equal_and_recorded(
    published: Path, transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of timm's names beside the library that trained it; the transfer and the report that follow state it."""
    out = tmp_path / "ours.safetensors"
    assert mimbench.main(["checkpoint", "convert", str(published), "--to", "timm", "--out", str(out)]) == mimbench.DONE
    assert verify(out, f"hf:{published}") == mimbench.DONE
    assert "equal: tokens of 4 images of 32 px" in capsys.readouterr().out
    kept = json.loads(Path(f"{out}.parity.json").read_text())["parity"]
    assert kept["difference"] < 1e-5
    assert (kept["library"], kept["same_file"]) == (f"transformers {transformers.__version__}", False)
    command = [*transfer_command, "--encoder", str(out), "--stage", "supervised", "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, "training.epochs=1", "training.schedule.warmup_epochs=0"]) == mimbench.DONE
    report = record_of(only_run(tmp_path / "runs")).load_report
    assert report is not None
    assert report.parity is not None
    assert report.parity.model_dump(mode="json") == kept
    page = tmp_path / "report"
    assert mimbench.main(["report", "leaderboard", str(tmp_path / "runs"), "--out", str(page)]) == mimbench.DONE
    words = f"{kept['difference']:.0e} against transformers {transformers.__version__}"
    assert words in (page / "leaderboard.html").read_text()
    assert mimbench.main(["checkpoint", "inspect", str(out)]) == mimbench.DONE
    assert f"parity {words}" in capsys.readouterr().out


@pytest.mark.parametrize("change", [swapped, turned, another])
def test_what_has_the_right_names_and_shapes_but_not_the_right_numbers_is_found(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    published: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = changed(published, tmp_path / "wrong", change)
    assert verify(wrong, f"hf:{published}") == mimbench.FAILED
    assert f"its features are not those of hf:{published}" in capsys.readouterr().err
    assert not (wrong / "model.safetensors.parity.json").exists()


def test_what_is_kept_belongs_to_the_weights_it_was_found_of(published: Path, tmp_path: Path) -> None:
    copy = changed(published, tmp_path / "copy", dict)
    assert verify(copy, f"hf:{copy}") == mimbench.DONE
    kept = copy / "model.safetensors.parity.json"
    assert json.loads(kept.read_text())["parity"]["same_file"]
    wrong = changed(published, tmp_path / "wrong", turned)
    shutil.copy(kept, wrong)
    from transfer.sources.references import resolve

    assert resolve(str(copy), EncoderStatement(stage="supervised")).parity is not None
    assert resolve(str(wrong), EncoderStatement(stage="supervised")).parity is None


def test_a_pickle_of_transformers_is_a_witness_without_its_code(published: Path, tmp_path: Path) -> None:
    """The witness's own file is read by this program: a pickle that would run code is refused, not run."""
    folder = tmp_path / "old"
    folder.mkdir()
    config = json.loads((published / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(load_file(published / "model.safetensors"), folder / "pytorch_model.bin")
    assert verify(published, f"hf:{folder}") == mimbench.DONE
    (folder / "modeling_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "modeling_own.C", "AutoModel": "modeling_own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert verify(published, f"hf:{folder}") == mimbench.WRONG
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["DINOv3's ConvNeXt", "V-JEPA 2"])
def test_witnesses_with_forms_of_their_own_are_compared(name: str, tmp_path: Path) -> None:
    """DINOv3's ConvNeXt gives its pooled output before the patches; V-JEPA 2 sees an image as a clip."""
    torch.manual_seed(0)
    folder = FOREIGN[name](tmp_path).save(tmp_path)
    assert verify(folder, f"hf:{folder}") == mimbench.DONE
    wrong = load_file(folder / "model.safetensors")
    largest = max((each for each in wrong if wrong[each].ndim > 1), key=lambda each: wrong[each].numel())
    (tmp_path / "wrong").mkdir()
    save_file({**wrong, largest: wrong[largest].flip(0).contiguous()}, tmp_path / "wrong" / "model.safetensors")
    shutil.copy(folder / "config.json", tmp_path / "wrong")
    assert verify(tmp_path / "wrong", f"hf:{folder}") == mimbench.FAILED


def test_timms_own_model_is_a_witness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hub's real cache layout with random weights of the real model, and a file in torchvision's names."""
    name = f"{TIMM}.augreg_in21k"
    snapshot = tmp_path / "hub" / f"models--timm--{name}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0" * 40)
    model = randomise(timm.create_model(TIMM, num_classes=21843))
    save_file(model.state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    torch.save({"model": model.state_dict()}, tmp_path / "theirs.pth")
    assert verify(tmp_path / "theirs.pth", f"timm:{name}") == mimbench.DONE
    assert f"(timm {timm.__version__}" in capsys.readouterr().out
    assert verify(tmp_path / "theirs.pth", "timm:vit_base_patch16_224.augreg_in21k") == mimbench.FAILED
    assert "online" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["tokens", "class token", "patch tokens", "tokens before the last norm"])
def test_kept_features_are_a_witness(
    form: str, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Features that transformers computed somewhere else, of images that are in the file as they entered the model."""
    model = transformers.ViTModel.from_pretrained(published, add_pooling_layer=False).eval()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        found = model(images, output_hidden_states=True)
    features = {
        "tokens": found.last_hidden_state,
        "class token": found.last_hidden_state[:, 0],
        "patch tokens": found.last_hidden_state[:, 1:],
        "tokens before the last norm": found.hidden_states[-1],
    }[form]
    np.savez(tmp_path / "features.npz", images=images.numpy(), features=features.numpy())
    assert verify(published, str(tmp_path / "features.npz")) == mimbench.DONE
    assert f"equal: {form} of 3 images of 32 px" in capsys.readouterr().out


def test_features_that_prove_nothing_are_refused(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    for number, (features, words) in enumerate(
        (
            (np.ones((2, 17, 128)), "hardly differ from image to image"),
            (np.full((2, 17, 128), np.nan), "are not finite"),
            (np.random.default_rng(1).normal(size=(2, 5)), "are none of this encoder's"),
        )
    ):
        path = tmp_path / f"{number}.npz"
        np.savez(path, images=images, features=features.astype(np.float32))
        assert verify(published, str(path)) == mimbench.FAILED
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["object", "no features", "one image", "not a zip"])
def test_a_file_that_holds_no_features_is_a_wrong_request(damage: str, published: Path, tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    arrays = {"images": np.zeros((2, 3, 32, 32)), "features": np.zeros((2, 4))}
    if damage == "object":
        arrays["features"] = np.array([{"a": 1}, None], dtype=object)  # numpy would unpickle it
    elif damage == "no features":
        del arrays["features"]
    elif damage == "one image":
        arrays = {name: each[:1] for name, each in arrays.items()}
    np.savez(path, **arrays)
    if damage == "not a zip":
        path.write_bytes(b"\x93NUMPY")
    assert verify(published, str(path)) == mimbench.WRONG


def test_the_images_differ_in_every_channel_and_are_the_same_every_time() -> None:
    images = digit_images(32, 3)
    assert images.equal(digit_images(32, 3))
    assert images.mean().item() == pytest.approx(0, abs=1e-6)
    pairs = [(images[:, one] - images[:, two]).abs().mean() for one, two in ((0, 1), (1, 2), (0, 2))]
    assert min(pairs) > 0.1
