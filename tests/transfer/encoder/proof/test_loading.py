"""Proof of transfer: what was loaded is reported, and less than everything stops the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmarks.encoders import find_architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import WorkFailed
from benchmarks.runs.record import LoadReport
from benchmarks.verbs.statement import EncoderStatement
from tests.support.random_weights import randomise
from tests.transfer.matrix.cells import recipe_of
from transfer.encoder.model import build_frozen_maps, build_head_maps
from transfer.encoder.proof.loading import load_encoder, random_report, require_complete, require_loaded
from transfer.sources.references import resolve
from transfer.sources.source import Source

TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return build_backbone(find_architecture("digits_swin"), 64).state_dict()


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(2)
    return build_backbone(find_architecture("digits_swin"), 64, num_classes=10)


def test_a_whole_encoder_is_loaded_and_computes_the_same(classifier: nn.Module, weights: dict[str, Tensor]) -> None:
    source = build_backbone(find_architecture("digits_swin"), 64)
    source.load_state_dict(weights)
    report = load_encoder(classifier, weights, "mimbench")
    require_complete(report, "x")
    assert report.coverage_percent == 100
    assert report.loaded == report.expected == len(weights)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert classifier.eval().forward_features(images).equal(source.eval().forward_features(images))


def test_what_a_checkpoint_may_hold_besides(classifier: nn.Module, weights: dict[str, Tensor]) -> None:
    more = {"mask_token": torch.zeros(1, 1, 32), "head.fc.weight": torch.zeros(1000, 256), **weights}
    require_complete(load_encoder(classifier, more, "mimbench"), "x")
    assert classifier.state_dict()["head.fc.weight"].shape == (10, 256), "the old head is not taken"


def test_numbers_that_are_not_finite_are_no_loss_in_copying(classifier: nn.Module, weights: dict[str, Tensor]) -> None:
    """Another finding names them; this one would say that the architecture is another."""
    odd = {**weights, "norm.weight": weights["norm.weight"] * torch.nan}
    require_complete(load_encoder(classifier, odd, "mimbench"), "x")


def test_a_missing_tensor_is_named_and_stops(classifier: nn.Module, weights: dict[str, Tensor]) -> None:
    less = {name: tensor for name, tensor in weights.items() if name != TABLE}
    report = load_encoder(classifier, less, "mimbench")
    assert report.missing == (TABLE,)
    elements = sum(tensor.numel() for tensor in weights.values())
    assert report.coverage_percent == pytest.approx(100 * (elements - weights[TABLE].numel()) / elements)
    with pytest.raises(WorkFailed, match=f"missing from the checkpoint: {TABLE}"):
        require_complete(report, "x")


def test_a_table_of_another_window_is_resized_and_reported(classifier: nn.Module, weights: dict[str, Tensor]) -> None:
    report = load_encoder(classifier, {**weights, TABLE: torch.randn(25, 2)}, "mimbench", "bicubic")
    require_complete(report, "x")
    (resized,) = report.resized
    assert (resized.name, resized.from_shape, resized.to_shape) == (TABLE, (25, 2), (49, 2))
    assert resized.mode == "bicubic"


def test_a_tensor_that_no_rule_fits_is_named_and_stops(classifier: nn.Module, weights: dict[str, Tensor]) -> None:
    report = load_encoder(classifier, {**weights, TABLE: torch.zeros(26, 2)}, "mimbench")
    assert report.mismatched == (f"{TABLE}: found [26, 2], expected [49, 2]",)
    assert report.coverage_percent < 100
    with pytest.raises(WorkFailed, match="of another shape"):
        require_complete(report, "x")


def test_a_tensor_without_a_place_stops(classifier: nn.Module, weights: dict[str, Tensor]) -> None:
    report = load_encoder(classifier, {**weights, "layers.9.blocks.0.norm1.weight": torch.ones(3)}, "mimbench")
    assert report.unexpected == ("layers.9.blocks.0.norm1.weight",)
    assert report.coverage_percent == 100
    with pytest.raises(WorkFailed, match="without a place in the encoder"):
        require_complete(report, "x")


def test_the_classic_silent_failure_is_loud(classifier: nn.Module, weights: dict[str, Tensor]) -> None:
    """With SimMIM's own prefix not stripped, other programs load nothing and do not report it."""
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    report = load_encoder(classifier, {f"encoder.{name}": tensor for name, tensor in weights.items()}, "mimbench")
    assert (report.loaded, report.coverage_percent) == (0, 0.0)
    with pytest.raises(WorkFailed, match=r"only 0 of \d+ tensors of the encoder .*0\.0 %"):
        require_complete(report, "x")
    assert all(tensor.equal(before[name]) for name, tensor in classifier.state_dict().items())


def test_random_weights_claim_nothing(classifier: nn.Module) -> None:
    report = random_report(classifier)
    assert (report.loaded, report.coverage_percent, report.source_format) == (0, 0.0, "random")


def test_a_file_that_ends_before_its_last_norm_is_for_maps_alone(tmp_path: Path) -> None:
    """Encoders saved before their norm, and those of timm's `features_only`; half of a norm is damage everywhere."""
    model = randomise(timm.create_model("vit_tiny_patch16_224", embed_dim=64, depth=2, num_heads=1, img_size=64))
    whole = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head.")}
    cut = {name: tensor for name, tensor in whole.items() if not name.startswith("norm.")}
    half = {name: tensor for name, tensor in whole.items() if name != "norm.bias"}
    recipe = recipe_of("digit_scenes_finetune", "dense", 64)

    def maps(tensors: dict[str, Tensor], frozen: bool = False) -> tuple[Source, LoadReport]:
        torch.save(tensors, tmp_path / "file.pth")
        source = resolve(str(tmp_path / "file.pth"), EncoderStatement(stage="supervised"))
        if frozen:
            return source, build_frozen_maps(recipe, source, 0, longest_px=64, last=1).report
        return source, build_head_maps(recipe, source, 0, longest_px=64).report

    source, report = maps(cut)
    require_loaded(report, source)
    assert any("ends before norm: no map passes it" in note for note in report.notes)
    for tensors, frozen, remedy in ((cut, True, "save the encoder with its norm"), (half, False, "another encoder")):
        source, report = maps(tensors, frozen)
        with pytest.raises(WorkFailed, match=remedy):
            require_loaded(report, source)
