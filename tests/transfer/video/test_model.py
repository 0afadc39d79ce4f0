"""How encoders of images see clips: inflated or frame by frame, which rates they learn at, what is refused."""

from __future__ import annotations

import pytest
import torch

from benchmarks.errors import UserError
from benchmarks.families.blocks import recompute
from tests.transfer.video.models import build, clips, recipe
from transfer.video.model import Swin3d, VideoClassifier, groups_of

SWIN, VIT = "random:digits_swin", "random:vit_tiny_patch16_224"
WITHOUT_3D = ["random:swinv2_tiny_window8_256", VIT, "random:simmim_vit_base"]


def test_a_swin_is_inflated_and_torchvision_agrees_with_the_vectors() -> None:
    loaded = build(SWIN, recipe())
    encoder = loaded.model.encoder.eval()
    assert isinstance(encoder, Swin3d)
    with torch.no_grad():
        torch.testing.assert_close(encoder(clips()), encoder.swin(clips()), rtol=1e-5, atol=1e-6)
    assert {each.mode.split(":")[0] for each in loaded.report.resized} == {"inflated"}
    assert loaded.report.parameters == sum(each.numel() for each in encoder.parameters())
    assert encoder.flat is None


@pytest.mark.parametrize(("reference", "more"), [(SWIN, ["temporal=frame_pooling"]), (VIT, [])])
def test_frame_pooling_is_the_mean_of_timms_features(reference: str, more: list[str]) -> None:
    encoder = build(reference, recipe(*more)).model.encoder.eval()
    with torch.no_grad():
        frames = [encoder.flat(clips()[:, :, step]) for step in range(8)]
        torch.testing.assert_close(encoder(clips()), sum(frames) / 8, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reference", WITHOUT_3D)
def test_what_has_no_3d_form_is_told_so(reference: str) -> None:
    with pytest.raises(UserError, match=r"(?s)temporal = swin3d\n.*for a Swin.* is none\n.*temporal=frame_pooling"):
        build(reference, recipe("temporal=swin3d"))


def test_half_a_patch_of_frames_is_refused() -> None:
    with pytest.raises(UserError, match=r"(?s)sampling.frames = 5\n.*a multiple of patch_frames \(2\)"):
        build(SWIN, recipe("sampling.frames=5"))


def test_frames_one_by_one_need_whole_windows_and_inflated_ones_do_not() -> None:
    """timm rolls before it pads; torchvision, as the official code, pads first."""
    build(SWIN, recipe("image_size_px=96"))
    with pytest.raises(UserError, match="multiples of the window"):
        build(SWIN, recipe("image_size_px=96", "temporal=frame_pooling"))


def test_the_head_learns_at_the_full_rate_and_tables_do_not_decay() -> None:
    chosen = recipe("encoder_lr_scale=0.1", "layer_decay=1.0", "training.weight_decay=0.05")
    model: VideoClassifier = build(SWIN, chosen).model
    head = {id(each) for each in model.head.parameters()}
    scales, decays = {}, {}
    for group in groups_of(model, chosen):
        for parameter in group["params"]:
            assert id(parameter) not in scales
            scales[id(parameter)], decays[id(parameter)] = group["lr_scale"], group["weight_decay"]
    for name, parameter in model.named_parameters():
        assert scales.pop(id(parameter)) == (1.0 if id(parameter) in head else 0.1), name
        # Video-Swin's configs: no decay of tables and norms; ours, as SimMIM's: nor of biases.
        kept = "relative_position_bias_table" in name or "norm" in name or name.endswith(".bias")
        assert decays[id(parameter)] == (0.0 if kept else 0.05), name
    assert not scales


@pytest.mark.parametrize(
    ("reference", "first", "layers"), [(SWIN, "swin.patch_embed.proj.weight", 10), (VIT, "backbone.cls_token", 14)]
)
def test_layer_decay_reaches_from_the_head_to_the_patches(reference: str, first: str, layers: int) -> None:
    """Eight blocks (twelve in the ViT), the patches below and the last norm above."""
    chosen = recipe("encoder_lr_scale=0.5", "layer_decay=0.8")
    groups = groups_of(build(reference, chosen).model, chosen)
    scale = {name: group["lr_scale"] for group in groups for name in group["names"]}
    assert scale[first] == pytest.approx(0.5 * 0.8 ** (layers - 1))
    assert scale["weight"] == 1.0, "the head's"
    if reference == SWIN:
        # A PatchMerging belongs to the block before it, the third and fourth block to the second stage.
        assert scale["swin.features.1.reduction.weight"] == scale["swin.features.0.1.mlp.0.weight"]
        assert scale["swin.features.2.0.mlp.0.weight"] == pytest.approx(0.5 * 0.8 ** (layers - 1 - 3))
        assert scale["swin.norm.weight"] == 0.5


@pytest.mark.parametrize("reference", [SWIN, VIT])
def test_activation_checkpointing_changes_no_gradient(reference: str) -> None:
    gradients = []
    for again in (False, True):
        model = build(reference, recipe("drop_path_rate=0.2")).model.train()
        for block in model.encoder.blocks() if again else ():
            recompute(block)
        torch.manual_seed(0)
        model(clips()).square().sum().backward()
        gradients.append([each.grad for each in model.parameters()])
    assert all(each is not None and each.any() for each in gradients[0])
    for kept, computed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, computed)
