"""What people hand in by mistake: each is named for what it is, with the program that makes an encoder's file of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import Tensor, nn

import mimbench
from tests.support.random_weights import of_timm
from tests.transfer.checkpoint.samples import SMALL

FIXTURES = Path(__file__).parents[1] / "fixtures" / "mistaken"


def listed(name: str) -> dict[str, Tensor]:
    """Tensors with the names, types and shapes of a real file."""
    rows = json.loads((FIXTURES / f"{name}.json").read_text())["tensors"]
    return {key: torch.zeros(shape, dtype=getattr(torch, dtype)) for key, (dtype, shape) in rows.items()}


def encoder() -> nn.Module:
    return of_timm(SMALL["swin"].name, **SMALL["swin"].arguments)


def refusal(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert mimbench.main(["checkpoint", "inspect", str(path)]) == mimbench.WRONG
    message = capsys.readouterr().err
    assert "rule:" in message
    assert not any(word in message for word in ("damaged", "incomplete", "get it again", "fetch it again"))
    return message


@pytest.mark.parametrize(
    ("listing", "kind", "remedy"),
    [
        ("peft-adapter", "an adapter without its model (8 of 8 tensors", "merge_and_unload"),
        ("peft-unmerged", "a model with an adapter that is not merged into it (8 of 48", "merge_and_unload"),
        ("bitsandbytes-int8", "a quantised model", "dequantize"),
        ("bitsandbytes-nf4", "a quantised model", "dequantize"),
    ],
)
def test_adapters_and_quantised_files_as_their_libraries_write_them(
    listing: str, kind: str, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(listed(listing), tmp_path / "model.safetensors")
    torch.save({"model": listed(listing)}, tmp_path / "model.pth")
    for file in ("model.safetensors", "model.pth"):
        message = refusal(tmp_path / file, capsys)
        assert kind in message
        assert remedy in message


def test_a_folder_of_peft_is_named_by_its_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(listed("peft-adapter"), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert "merge_and_unload" in refusal(tmp_path, capsys)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_narrow_numbers_are_no_traceback(
    dtype: torch.dtype, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrices = [name for name, each in encoder().state_dict().items() if each.ndim == 2 and name.endswith("weight")]
    weights = {
        name: each.to(dtype) if each.is_floating_point() and each.ndim == 2 else each
        for name, each in encoder().state_dict().items()
    }
    path = tmp_path / f"encoder.{suffix}"
    save_file(weights, path) if suffix == "safetensors" else torch.save(weights, path)
    assert f"a quantised model ({len(matrices)} tensors, as layers.0.blocks.0.attn" in refusal(path, capsys)


@pytest.mark.filterwarnings("ignore")
def test_torchs_own_quantised_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantised = torch.ao.quantization.quantize_dynamic(encoder(), {nn.Linear}, dtype=torch.qint8)
    torch.save(quantised.state_dict(), tmp_path / "int8.pth")
    assert "dequantize" in refusal(tmp_path / "int8.pth", capsys)


def trained_optimiser() -> torch.optim.Optimizer:
    model = nn.Linear(3, 3)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    return optimiser


def _by_name(state: dict[str, dict[object, object]]) -> dict[str, object]:
    """As FSDP gathers it: parameters' names in the place of numbers."""
    return {**state, "state": {f"blocks.{number}.weight": each for number, each in state["state"].items()}}


@pytest.mark.parametrize(
    "content",
    [
        lambda state: state,
        lambda state: {"optimizer": state, "epoch": 3},
        lambda state: {"optimizer": state, "lr_scheduler": {"last_epoch": 3}, "scaler": {"scale": 65536.0}},
        _by_name,
    ],
)
def test_an_optimisers_state_alone(
    content: Callable[[object], object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content(trained_optimiser().state_dict()), tmp_path / "optimizer.pt")
    message = refusal(tmp_path / "optimizer.pt", capsys)
    assert "the state of an optimiser" in message
    assert "give the file of the model's weights" in message


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_distributed_checkpoint_of_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As FSDP's trainers save it: the folder, a folder around it, and each of the files in it."""
    folder = tmp_path / "run" / "pytorch_model_fsdp_0"
    dcp.save({"model": encoder().state_dict()}, checkpoint_id=folder, no_dist=True)
    files = sorted(path for path in folder.iterdir())
    assert {path.suffix for path in files} >= {".distcp"}
    for path in (folder, folder.parent, *files):
        assert "torch.distributed.checkpoint.format_utils dcp_to_torch" in refusal(path, capsys)
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    dcp_to_torch_save(folder, tmp_path / "whole.pth")  # what the message tells people to do
    assert mimbench.main(["checkpoint", "inspect", str(tmp_path / "whole.pth")]) == mimbench.DONE


def deepspeeds(folder: Path, stage: int) -> Path:
    """A training's state as DeepSpeed lays it out: runtime/engine.py, `_get_ckpt_name` and `_get_zero_ckpt_name`."""
    inner = folder / "global_step8"
    inner.mkdir(parents=True)
    (folder / "latest").write_text("global_step8")
    (folder / "zero_to_fp32.py").write_text("raise SystemExit('never run')")
    weights = encoder().state_dict()
    about = {"ds_version": "0.16.0", "ds_config": {"zero_optimization": {"stage": stage}}}
    model = {name: torch.empty(0) for name in weights} if stage == 3 else weights
    torch.save({"module": model, "param_shapes": {}, **about}, inner / "mp_rank_00_model_states.pt")
    flat = {"fp32_flat_groups": [torch.ones(5)], "zero_stage": stage}
    optimiser = {"optimizer_state_dict": flat, **about}
    torch.save(optimiser, inner / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    return folder


def test_deepspeeds_folders_and_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = deepspeeds(tmp_path / "three", 3)
    files = sorted((folder / "global_step8").iterdir())
    for path in (folder, folder / "global_step8", *files):
        assert "zero_to_fp32.py" in refusal(path, capsys)
    whole = deepspeeds(tmp_path / "two", 2) / "global_step8" / "mp_rank_00_model_states.pt"
    assert mimbench.main(["checkpoint", "inspect", str(whole)]) == mimbench.DONE  # stages 1 and 2 keep it whole


def shards(folder: Path) -> list[Path]:
    import transformers

    config = transformers.SwinConfig(embed_dim=16, depths=[2, 2], num_heads=[1, 2], window_size=4, image_size=32)
    transformers.SwinModel(config).save_pretrained(folder, max_shard_size="30KB")
    found = sorted(folder.glob("model-0*.safetensors"))
    assert len(found) > 2
    return found


def test_a_shard_is_no_shallow_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = shards(tmp_path)
    for number, path in enumerate(parts, start=1):
        message = refusal(path, capsys)
        assert f"shard {number} of {len(parts)}" in message
        assert f"give the index, {tmp_path / 'model.safetensors.index.json'}" in message
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(parts[0], alone)
    for path in (alone, alone / parts[0].name):
        assert "model.safetensors.index.json" in refusal(path, capsys)
    shutil.copy(parts[1], alone)
    assert f"2 of {len(parts)} shards" in refusal(alone, capsys)


def test_one_shard_of_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "model-00001-of-00001.safetensors"
    save_file(encoder().state_dict(), path)
    assert mimbench.main(["checkpoint", "inspect", str(path)]) == mimbench.DONE


def test_a_file_without_weights_says_what_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(trained_optimiser(), 3)
    torch.save(scheduler.state_dict(), tmp_path / "scheduler.pt")
    assert "no weights found in it (it holds" in refusal(tmp_path / "scheduler.pt", capsys)
    torch.save({"python": (3, (1, 2)), "cpu": 5}, tmp_path / "rng_state.pth")
    assert "no weights found in it (it holds cpu, python)" in refusal(tmp_path / "rng_state.pth", capsys)


@pytest.mark.parametrize(
    "content",
    [
        {"epoch": 3},
        {"generator": encoder().state_dict(), "critic": encoder().state_dict()},
        {"weight": torch.ones(2, 2), "bias": torch.ones(2)},
        listed("peft-adapter"),
    ],
    ids=["no-weights", "two-sets", "no-layout", "adapter"],
)
def test_whatever_is_wrong_with_the_content_names_the_file_once(
    content: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.pth"
    torch.save(content, path)
    assert refusal(path, capsys).count(f"checkpoint = {path}: ") == 1
    assert mimbench.main(["evaluate", "digits", "--model", str(path), "--data", str(tmp_path)]) == mimbench.WRONG
    assert capsys.readouterr().err.count(str(path)) >= 1


def test_a_file_of_another_architecture_is_not_said_to_be_loaded_in_part() -> None:
    from benchmarks.errors import WorkFailed
    from transfer.encoder.proof.loading import load_encoder, require_complete

    model = encoder()
    weights = {**model.state_dict(), "layers.0.adapter.down.weight": torch.ones(2, 2)}
    with pytest.raises(WorkFailed, match=r"all \d+ tensors of the encoder were loaded, but 1 more in the file"):
        require_complete(load_encoder(model, weights, "timm"), "theirs.pth")
