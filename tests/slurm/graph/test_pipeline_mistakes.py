"""What is refused in a pipeline file, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml

from benchmarks.errors import UserError
from slurm.graph.check import load_pipeline
from slurm.graph.cluster import LocalCluster
from slurm.graph.starts import require_encoder_files
from tests.slurm.chained_study import changed, load, refusal

pytestmark = pytest.mark.usefixtures("study_folder")


def test_an_encoder_file_that_is_none_is_told_before_anything_starts() -> None:
    Path("theirs.pth").write_bytes(b"no checkpoint")
    file = load(changed(encoders__theirs={"ref": "theirs.pth"}))
    with pytest.raises(UserError, match=r"encoders\.theirs\.ref: .*theirs\.pth"):
        require_encoder_files(file)


def test_weights_that_no_training_leaves_are_named_before_anything_starts() -> None:
    model = timm.create_model("resnet10t", num_classes=0)
    torch.save({name: torch.zeros_like(each) for name, each in model.state_dict().items()}, "zeros.pth")
    theirs = {"ref": "zeros.pth", "stage": "supervised", "architecture": "resnet10t"}
    with pytest.raises(UserError, match=r"encoders\.theirs\.ref = zeros\.pth\n  rule: .*numbers are 0 and \d+ more"):
        require_encoder_files(load(changed(encoders__theirs=theirs)))
    require_encoder_files(load(changed(encoders__theirs={**theirs, "allow_implausible_weights": True})))


@pytest.mark.parametrize(
    ("study", "told"),
    [
        (
            changed(pretrain__simmim__recipe="digits_simmin"),
            ["pretrain.simmim: recipe = digits_simmin", "digits_simmim?"],
        ),
        (changed(pretrain__simmim__overrides=["training.epoch=3"]), ["training.epoch = 3", "Did you mean epochs?"]),
        (changed(pretrain__simmim__overrides=["training.epochs=many"]), ["training.epochs = many", "valid integer"]),
        (changed(pretrain__simmim__data="dat"), ["pretrain.simmim.data = dat", "a folder that exists"]),
        (changed(finetune__chained__task="digit"), ["finetune.chained: task = digit", "Did you mean digits?"]),
        (changed(finetune__chained__encoder={}), ["finetune.chained.encoder", "exactly one of `from` and `ref`"]),
        (
            changed(encoders__simmim={"from": "pretrain.simmin"}),
            ["encoders.simmim.from = pretrain.simmin", "Did you mean pretrain.simmim?"],
        ),
        (changed(encoders__scratch={"ref": "rand:digits_swin"}), ["encoders.scratch.ref = rand:digits_swin"]),
        (
            changed(encoders__simmim={"from": "pretrain.simmim", "stage": "supervised"}),
            ["encoders.simmim.stage = supervised", "`from: pretrain.simmim` is trained here", "remove encoders.simmim"],
        ),
        (
            changed(finetune__supervised__encoder={"ref": "random:digits_swin", "stage": "supervised"}),
            ["finetune.supervised.encoder.stage = supervised", "not trained at all"],
        ),
        (
            changed(encoders__scratch={"ref": "data", "stage": "self-supervized"}),
            ["encoders.scratch.stage = self-supervized", "'self-supervised', 'supervised' or 'fine-tuned'"],
        ),
        (changed(encoders__scratch={"ref": "runs/none"}), ["encoders.scratch.ref = runs/none", "check the path"]),
        (changed(encoders__scratch={"form": "pretrain.simmim"}), ["no such field here", "Did you mean from?"]),
        (changed(encoders={}), ["encoders"]),
        (changed(tasks={"digts": {}}), ["tasks.digts: task = digts", "Did you mean digits?"]),
        (changed(tasks=["digits", "digits"]), ["tasks = ['digits', 'digits']", "each task once"]),
        (changed(seeds=[0, 1, 0]), ["seeds = [0, 1, 0]", "each seed once"]),
        (changed(seeds=[0, -1]), ["seeds = -1", "greater than or equal to 0"]),
        (changed(pretrain__simmim__seed=2**32), ["pretrain.simmim.seed = 4294967296", "less than or equal to"]),
        (changed(baseline="supervise"), ["baseline = supervise", "one of this file's encoders"]),
        (changed(name="../study"), ["name = ../study"]),
        (changed(sedes=[0]), ["sedes = [0]", "Did you mean seeds?"]),
    ],
)
def test_a_mistake_is_told_with_its_field_its_value_and_the_remedy(study: dict[str, Any], told: list[str]) -> None:
    message = refusal(study)
    for words in (*told, "rule:", "remedy:"):
        assert words in message


def test_a_ring_of_trainings_is_named() -> None:
    def link(parent: str) -> dict[str, Any]:
        return {
            "encoder": {"from": f"finetune.{parent}"},
            "task": "digits",
            "recipe": "digits_finetune",
            "data": "data",
        }

    study = changed(finetune={"a": link("b"), "b": link("c"), "c": link("a")}, encoders__chained={"from": "finetune.a"})
    message = refusal(study)
    assert "finetune.a <- finetune.b <- finetune.c <- finetune.a" in message
    assert message.startswith("pipeline study.yaml: 1 mistake\n")


def test_all_mistakes_are_told_at_once() -> None:
    message = refusal(changed(baseline="none", seeds=[1, 1], pretrain__simmim__recipe="none"))
    assert message.startswith("pipeline study.yaml: 3 mistakes\n")


def test_a_batch_that_the_processes_of_a_stage_cannot_share_is_told_before_anything_starts() -> None:
    Path("study.yaml").write_text(yaml.safe_dump(changed(pretrain__simmim__overrides=["training.batch_size=20"])))
    load_pipeline(Path("study.yaml"), cluster=LocalCluster(executor="local", processes_per_stage=2))
    with pytest.raises(UserError) as caught:
        load_pipeline(Path("study.yaml"), cluster=LocalCluster(executor="local", processes_per_stage=3))
    assert "pretrain.simmim: training.batch_size = 20" in str(caught.value)
    assert "the processes of a stage on this cluster (3)" in str(caught.value)


def test_a_missing_file_is_told() -> None:
    with pytest.raises(UserError, match="a pipeline file that exists"):
        load_pipeline(Path("none.yaml"))
