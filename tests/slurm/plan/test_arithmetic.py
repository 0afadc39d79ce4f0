"""The least that a training takes on a CPU: counted FLOPs beside published ones, and the sum by hand."""

from __future__ import annotations

import pytest

import mimbench
from benchmarks.config import load_recipe
from benchmarks.encoders import Architecture, find_architecture
from pretrain.recipe import PretrainRecipe
from slurm.plan.arithmetic import best_flops_per_second, floor_of
from slurm.plan.speed import Training
from tests.slurm.chained_study import changed, load
from transfer.encoder.flops import encoder_flops


@pytest.mark.parametrize(
    ("name", "size", "giga"),
    [
        ("swin_base_patch4_window7_224", 224, 2 * 15.4),  # Liu et al. 2021, table 1, in multiplications and additions
        ("vit_base_patch16_224", 224, 2 * 17.6),  # Touvron et al. 2021, table 1
        ("resnet50", 224, 2 * 4.09),  # torchvision's table of weights
    ],
)
def test_flops_are_those_that_were_published(name: str, size: int, giga: float) -> None:
    assert encoder_flops(Architecture(name=name), size) == pytest.approx(giga * 1e9, rel=0.03)


def test_the_least_is_three_forward_passes_of_each_image_over_the_best_rate() -> None:
    recipe = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", ["data.root=data"]).config
    known = Training("pretrain", recipe, "digits_simmim", None, 1)
    elsewhere = Training("digits", recipe, "digits_simmim", "theirs.pth", 1)
    one = encoder_flops(find_architecture("digits_swin"), recipe.image_size_px)
    floor = floor_of([(known, 1000), (known, 500), (known, None), (elsewhere, 1000)])
    assert floor is not None
    assert (floor.trainings, floor.flops) == (2, 3 * 1500 * one)
    assert floor.seconds == floor.flops / floor.flops_per_second
    assert floor_of([(elsewhere, 1000), (known, None)]) is None


def test_matrices_are_multiplied_at_a_rate_that_a_machine_can_have() -> None:
    assert 1e8 < best_flops_per_second() < 1e15


@pytest.mark.usefixtures("study_folder")
def test_a_plan_says_how_many_days_large_encoders_take_at_least_on_this_machine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = ["training.epochs=null", "training.steps=500000", "training.schedule.milestone_epochs=[]"]
    more += ["training.schedule.milestone_steps=[437500]"]
    load(changed(pretrain__simmim={"recipe": "simmim_swin_base_192_800ep", "data": "data", "overrides": more}))
    assert mimbench.main(["pipeline", "plan", "study.yaml", "--no-data-check"]) == 0
    words = capsys.readouterr().out
    assert "without a GPU: at least " in words
    assert " days for " in words
    assert "remedy: let a short run" in words
