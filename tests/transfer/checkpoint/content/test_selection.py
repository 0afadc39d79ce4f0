"""Which of a file's sets of weights is taken, by default and by a person's choice, and that this is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import mimbench
from benchmarks.verbs.statement import EncoderStatement
from tests.support.random_weights import randomise
from tests.support.runs import only_run, record_of
from transfer.checkpoint.content.selection import Selection
from transfer.checkpoint.content.state_dict import find_weights
from transfer.sources.references import resolve

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 128, "depth": 2, "num_heads": 2, "num_classes": 0}


def vit(seed: int = 3) -> nn.Module:
    model: nn.Module = timm.create_model("vit_tiny_patch16_224", **VIT)
    return randomise(model, seed)


def kernel(found: dict[str, Tensor]) -> Tensor:
    return found["patch_embed.proj.weight"]


MODEL, AVERAGE = vit(3), vit(4)


def of_timm(folder: Path) -> Path:
    """Written by timm's own saver, as its training script does: state_dict beside state_dict_ema."""
    from timm.utils import CheckpointSaver, ModelEmaV3

    average = ModelEmaV3(MODEL)
    average.module.load_state_dict(AVERAGE.state_dict())
    saver = CheckpointSaver(
        MODEL, torch.optim.SGD(MODEL.parameters(), lr=0.1), model_ema=average, checkpoint_dir=folder
    )
    saver.save_checkpoint(0, 1.0)
    return folder / "last.pth.tar"


def test_timms_average_is_taken_as_timms_own_loader_does(tmp_path: Path) -> None:
    path = of_timm(tmp_path)
    theirs = timm.models.load_state_dict(str(path), weights_only=False)
    source = resolve(str(path), EncoderStatement(stage="supervised"))
    assert source.read is not None
    assert kernel(source.read()).equal(kernel(theirs))
    assert kernel(theirs).equal(kernel(AVERAGE.state_dict()))
    assert "weights: state_dict_ema; the file holds state_dict as well (--weights takes another)" in source.remarks
    chosen = resolve(str(path), EncoderStatement(stage="supervised", weights="state_dict"))
    assert chosen.read is not None
    assert kernel(chosen.read()).equal(kernel(MODEL.state_dict()))


def averaged() -> dict[str, Tensor]:
    """A moving average as torchvision's references/classification/utils.py makes it."""
    average = AveragedModel(MODEL, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    average.update_parameters(AVERAGE)
    return dict(average.state_dict())


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"model": MODEL.state_dict(), "model_ema": averaged(), "args": None}, "model_ema"),
        ({"model": MODEL.state_dict(), "model_ema": AVERAGE.state_dict(), "epoch": 3}, "model"),
        ({"state_dict": MODEL.state_dict(), "ema_state_dict": AVERAGE.state_dict(), "meta": {}}, "state_dict"),
        ({"student": MODEL.state_dict(), "teacher": AVERAGE.state_dict()}, "teacher"),
        ({"encoder": MODEL.state_dict(), "target_encoder": AVERAGE.state_dict()}, "target_encoder"),
    ],
)
def test_the_set_that_the_authors_evaluate_is_the_default(content: dict[str, object], taken: str) -> None:
    found = find_weights(content)
    assert found.where == (taken,)
    assert found.remarks[0].startswith(f"weights: {taken}; the file holds ")
    for key in content:
        if isinstance(content[key], dict) and content[key]:
            assert find_weights(content, Selection(key)).where == (key,)


def test_a_choice_is_printed_and_recorded(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "both.pth"
    torch.save({"model": MODEL.state_dict(), "model_ema": AVERAGE.state_dict()}, path)
    command = [*transfer_command, "--encoder", str(path), "--stage", "supervised", "--weights", "model_ema"]
    command += ["--runs", str(tmp_path / "runs"), "training.epochs=1", "training.schedule.warmup_epochs=0"]
    assert mimbench.main(command) == mimbench.DONE
    words = "weights: model_ema; the file holds model as well"
    assert f"note: {words}" in capsys.readouterr().err
    record = record_of(only_run(tmp_path / "runs"))
    assert record.load_report is not None
    assert words in record.load_report.notes
    assert mimbench.main(["checkpoint", "inspect", str(path)]) == mimbench.DONE
    assert "weights: model; the file holds model_ema as well" in capsys.readouterr().out


def test_a_prefix_selects_one_of_several_encoders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = {f"query.{name}": each for name, each in MODEL.state_dict().items()}
    two |= {f"key.{name}": each for name, each in AVERAGE.state_dict().items()}
    path = tmp_path / "two.pth"
    torch.save(two, path)
    assert mimbench.main(["checkpoint", "inspect", str(path)]) == mimbench.WRONG
    assert "--prefix NAME" in capsys.readouterr().err
    for prefix in ("key", "key."):
        found = find_weights(two, Selection(prefix=prefix))
        assert kernel(found.tensors).equal(kernel(AVERAGE.state_dict()))
    assert mimbench.main(["checkpoint", "inspect", str(path), "--prefix", "key"]) == mimbench.DONE
    assert "of these the tensors under key." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (
            ["--weights", "nothing"],
            "--weights = nothing\n  rule:   one of the file's sets of weights: model, model_ema",
        ),
        (
            ["--prefix", "visual"],
            "--prefix = visual\n  rule:   what names of the file begin with (cls_token, pos_embed",
        ),
    ],
)
def test_a_choice_that_is_not_there_names_what_is(
    option: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "both.pth"
    torch.save({"model": MODEL.state_dict(), "model_ema": AVERAGE.state_dict()}, path)
    assert mimbench.main(["checkpoint", "inspect", str(path), *option]) == mimbench.WRONG
    assert words in capsys.readouterr().err


def test_two_sets_of_one_rank_ask_for_a_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"first": MODEL.state_dict(), "second": AVERAGE.state_dict()}, tmp_path / "two.pth")
    assert mimbench.main(["checkpoint", "inspect", str(tmp_path / "two.pth")]) == mimbench.WRONG
    assert "name the one that is meant: --weights KEY" in capsys.readouterr().err
    chosen = ["checkpoint", "inspect", str(tmp_path / "two.pth"), "--weights", "second"]
    assert mimbench.main(chosen) == mimbench.DONE


def test_runs_and_hubs_have_nothing_to_choose_from(simmim_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["checkpoint", "inspect", str(simmim_run), "--weights", "model"]) == mimbench.WRONG
    assert "it is for checkpoint files that others wrote" in capsys.readouterr().err
