"""What encoders cost by arithmetic: operations, parameters, activations, beside what torch counts and papers say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.config import load_recipe
from benchmarks.encoders import Architecture, find_architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.device import autocast
from pretrain.bench.programs import Task
from pretrain.recipe import PretrainRecipe
from slurm.plan.estimate.encoders import Cut, Volume, encoder_cost
from slurm.plan.estimate.work import work_of
from slurm.plan.speed import Training
from transfer.encoder.flops import encoder_flops

SMALL = "{{name: {}, arguments: {{embed_dim: 32, depths: [2, 2], num_heads: [2, 4], window_size: {}}}}}"


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("swin_tiny_window6", 192),
        ("swin_base_patch4_window7_224", 224),
        ("swinv2_base_window12", 192),
        ("swinv2_giant_window12", 192),
        ("simmim_vit_base", 224),
        ("vit_large_patch16_224", 224),
        ("digits_swin", 32),
        ("resnet50", 224),
    ],
)
def test_operations_and_parameters_are_those_that_torch_counts(name: str, size: int) -> None:
    """Of SwinV2, torch also counts what makes the bias of each window, once for each batch: under 1 %."""
    architecture = find_architecture(name)
    cost = encoder_cost(architecture, Volume(size, size))
    assert cost is not None
    assert cost.flops == pytest.approx(encoder_flops(architecture, size), rel=0.01 if "v2" in name else 0.001)
    with torch.device("meta"):
        model = build_backbone(architecture, size, whole_windows=False)
    assert cost.parameters == pytest.approx(sum(each.numel() for each in model.parameters()), rel=0.005)


@pytest.mark.parametrize(
    ("name", "size", "giga", "mega"),
    [
        ("swin_tiny_patch4_window7_224", 224, 4.5, 28),  # arXiv:2103.14030, table 1; parameters with a classifier
        ("swin_base_patch4_window7_224", 224, 15.4, 88),
        ("swin_large_patch4_window7_224", 224, 34.5, 197),
        ("swin_base_patch4_window12_384", 384, 47.0, 88),
        ("swinv2_tiny_window8_256", 256, 5.9, 28),  # microsoft/Swin-Transformer, README
        ("swinv2_base_window16_256", 256, 21.8, 88),
        ("vit_base_patch16_224", 224, 17.6, 86),  # arXiv:2012.12877, table 1
        ("swinv2_huge_window12", 192, None, 658),  # arXiv:2111.09883
        ("swinv2_giant_window12", 192, None, 3000),
    ],
)
def test_operations_and_parameters_are_those_that_were_published(
    name: str, size: int, giga: float | None, mega: float
) -> None:
    cost = encoder_cost(find_architecture(name), Volume(size, size))
    assert cost is not None
    assert cost.parameters / 1e6 == pytest.approx(mega, rel=0.02)
    if giga is not None:
        assert cost.flops / 2e9 == pytest.approx(giga, rel=0.02)


@pytest.mark.parametrize(("size", "giga"), [("tiny", 88), ("small", 166), ("base", 282)])
def test_clips_cost_what_video_swin_published(size: str, giga: float) -> None:
    """SwinTransformer/Video-Swin-Transformer, README: one view of 32 frames of 224 px."""
    clip, cut = Volume(224, 224, frames=32), Cut(window=(7, 7), patch_frames=2, window_frames=8)
    cost = encoder_cost(Architecture(name=f"swin_{size}_patch4_window7_224"), clip, cut)
    assert cost is not None
    assert cost.flops / 2e9 == pytest.approx(giga, rel=0.01)


@pytest.mark.parametrize("name", ["convnext_base", "vit_base_patch16_rope_224", "their_swin.pth"])
def test_an_encoder_of_another_shape_has_no_arithmetic(name: str) -> None:
    assert encoder_cost(Architecture(name=name), Volume(224, 224)) is None


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    ("name", "window"), [("swin_tiny_patch4_window7_224", 6), ("swinv2_tiny_window8_256", 6)], ids=["swin", "swinv2"]
)
def test_what_is_kept_for_the_backward_pass_is_what_autograd_keeps(
    name: str, window: int, precision: str, again: bool
) -> None:
    """Each tensor that autograd keeps is counted once, of 1 and of 3 images: the difference is what an image adds."""
    found, changes = [], [f"encoder={SMALL.format(name, window)}", "image_size_px=96", "data.root=x"]
    changes += [f"training.precision={precision}", f"training.activation_checkpointing={again}"]
    for count in (1, 3):
        few = [f"training.batch_size={count}", "training.device=cpu"]
        recipe = load_recipe(PretrainRecipe, "pretrain", "simmim_swin_base_192_100ep", [*changes, *few])
        task = Task(recipe, Path())
        task.problem.place()
        task.problem.model.train()
        own = {each.untyped_storage().data_ptr() for each in task.problem.model.parameters()}
        kept: dict[int, torch.Tensor] = {}

        def pack(tensor: torch.Tensor, own: set[int] = own, kept: dict[int, torch.Tensor] = kept) -> torch.Tensor:
            at = tensor.untyped_storage().data_ptr()
            return tensor if at in own else kept.setdefault(at, tensor)

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with hooks, autocast(task.device, recipe.config.training):
            task.problem.method.loss(task.images, task.hidden)
        found.append(sum(each.untyped_storage().nbytes() for each in kept.values()))
    work = work_of(Training("pretrain", recipe.config, recipe.name, None, 1))
    assert work is not None
    within = 0.3 if again else 0.2 if precision == "fp16" else 0.1
    assert (found[1] - found[0]) / 2 == pytest.approx(work.kept_bytes, rel=within)
