"""The mean of the patches through a norm of its own, as MAE's and BEiT's own fine-tuning have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import mimbench
from benchmarks.config import load_recipe
from benchmarks.encoders import Architecture, write_encoder
from benchmarks.errors import UserError
from benchmarks.verbs.statement import EncoderStatement
from tests.support.random_weights import randomise
from tests.support.runs import only_run, record_of
from transfer.classification.recipe import FinetuneRecipe
from transfer.encoder.model import build_model
from transfer.encoder.new_norm import REMARK
from transfer.sources.references import resolve
from transfer.sources.source import Source

SIZES: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 1}
OVERRIDES = ["image_size_px=32", "drop_path_rate=0.0"]


def file_of(name: str, folder: Path, **arguments: Any) -> tuple[Source, Any]:
    """Write a random encoder with its last norm, as pretraining leaves it; return it as a source, and as it was."""
    model: Any = timm.create_model(name, num_classes=0, **SIZES, **arguments)
    randomise(model)
    save_file(model.state_dict(), folder / "theirs.safetensors")
    return resolve(str(folder / "theirs.safetensors"), EncoderStatement(stage="self-supervised")), model.eval()


@pytest.mark.parametrize(
    ("recipe", "name", "arguments"),
    [
        ("imagenet1k_vit_base_224_mae", "vit_base_patch16_224", {}),
        ("imagenet1k_vit_base_224_beit", "beit_base_patch16_224", {"use_fc_norm": False}),
    ],
)
def test_logits_are_those_of_the_authors_formula(
    recipe: str, name: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    """head(LayerNorm(mean of the blocks' patches)): `models_vit.py` of MAE, `modeling_finetune.py` of BEiT."""
    source, theirs = file_of(name, tmp_path, **arguments)
    config = load_recipe(FinetuneRecipe, "transfer", recipe, OVERRIDES).config
    ours: Any = build_model(config, source, 0, num_classes=5, norm_after_pooling=True, bias_per_block=True).model.eval()
    theirs.norm = nn.Identity()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        mean = theirs.forward_features(images)[:, 1:].mean(dim=1)
        expected = ours.head(nn.functional.layer_norm(mean, (64,), eps=1e-6))
        torch.testing.assert_close(ours(images), expected)


def test_the_whole_encoder_is_still_proven_and_the_record_says_so(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file_of("vit_base_patch16_224", tmp_path)
    command = [*transfer_command, "--encoder", str(tmp_path / "theirs.safetensors"), "--stage", "self-supervised"]
    command += ["--runs", str(tmp_path / "runs"), "window_size=null", "norm_after_pooling=true", "head_init_std=2e-5"]
    assert mimbench.main(command) == 0
    record = record_of(only_run(tmp_path / "runs"))
    assert record.load_report is not None
    assert record.load_report.complete
    assert REMARK in record.load_report.notes
    assert f"note: {REMARK}" in capsys.readouterr().err
    again = resolve(str(only_run(tmp_path / "runs")))
    assert again.use.architecture.arguments["global_pool"] == "avg", (
        "what is exported keeps the norm it was trained with"
    )


def test_an_encoder_with_such_a_norm_keeps_it(tmp_path: Path) -> None:
    source, theirs = file_of("vit_base_patch16_224", tmp_path, global_pool="avg")
    config = load_recipe(FinetuneRecipe, "transfer", "imagenet1k_vit_base_224_mae", OVERRIDES).config
    ours: Any = build_model(config, source, 0, num_classes=5, norm_after_pooling=True).model
    assert ours.fc_norm.weight.equal(theirs.fc_norm.weight)


def test_other_families_have_no_such_form() -> None:
    config = load_recipe(FinetuneRecipe, "transfer", "imagenet1k_vit_base_224_mae").config
    with pytest.raises(UserError, match=r"norm_after_pooling = True\n  rule:   false for swin_tiny"):
        build_model(config, resolve("random:swin_tiny_patch4_window7_224"), 0, num_classes=5, norm_after_pooling=True)


def test_a_vit_that_simmim_pretrained_here_is_summed_up_by_its_patches(tmp_path: Path) -> None:
    """SimMIM's own fine-tuning takes the mean of the patches; its class token, no loss has trained."""
    arguments = {**SIZES, "use_abs_pos_emb": False, "use_shared_rel_pos_bias": True, "global_pool": "token"}
    model: Any = timm.create_model("beit_base_patch16_224", num_classes=0, **arguments)
    randomise(model)
    fields = {"image_size_px": 32, "patch_size_px": 8, "window_size": None, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    known = Architecture(name="beit_base_patch16_224", arguments=arguments)
    for method, stage, pooled in (("simmim", "self-supervised", True), ("simmim + digits", "fine-tuned", False)):
        folder = tmp_path / stage
        more = {"method": method, "init_stage": stage, "epochs": 1, "recipe": "r", "recipe_digest": "d"}
        write_encoder(folder, model.state_dict(), architecture=known, **fields, **more)
        config = load_recipe(FinetuneRecipe, "transfer", "imagenet1k_vit_base_224_after_800ep", OVERRIDES).config
        built: Any = build_model(config, resolve(str(folder)), 0, num_classes=5).model.eval()
        images = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            tokens = model.eval().forward_features(images)
            taken = tokens[:, 1:].mean(dim=1) if pooled else tokens[:, 0]
            torch.testing.assert_close(built(images), built.head(taken))
