"""A study that is planned, and earlier runs from which its cost is estimated."""

from __future__ import annotations

from pathlib import Path

from benchmarks.config import load_recipe
from benchmarks.runs.record import DataUse, Environment, RecipeUse, RunRecord
from pretrain.recipe import PretrainRecipe
from slurm.graph.check import load_pipeline
from slurm.graph.cluster import LocalCluster, SlurmCluster
from slurm.graph.stages import expand
from slurm.plan.plan import Plan, make_plan
from slurm.state.folder import PipelineFolder

OVERRIDES = ["training.epochs=null", "training.steps=1000", "training.batch_size=320"]


STUDY = {
    "name": "study",
    "pretrain": {"simmim": {"recipe": "digits_simmim", "data": "data", "overrides": OVERRIDES}},
    "encoders": {"simmim": {"from": "pretrain.simmim"}},
    "tasks": {"digits": {"data": "data", "recipe": "digits_finetune"}},
    "seeds": [0],
    "baseline": "simmim",
}


EIGHT_GPUS = SlurmCluster(executor="slurm", nodes=2, gpus_per_node=4, time_limit="10m")


def plan(cluster: SlurmCluster | LocalCluster, *overrides: str) -> Plan:
    file = load_pipeline(Path("study.yaml"), overrides)
    folder, runs = Path("pipelines") / file.id, Path("runs")
    return make_plan(file, PipelineFolder(folder), expand(file, folder, runs), cluster, runs)


def leave_run(name: str, *overrides: str, processes: int = 2, device: str = "NVIDIA H100 80GB HBM3") -> None:
    """Write a finished pretraining to `runs/` that took 100 images per second with two processes, 50 with each."""
    recipe = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", ["data.root=data", *OVERRIDES, *overrides])
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    record = RunRecord(
        run_id=name,
        kind="pretrain",
        status="completed",
        recipe=RecipeUse(
            name=recipe.name, overrides=recipe.overrides, digest="d", resolved=recipe.config.model_dump(mode="json")
        ),
        seed=0,
        image_size_px=recipe.config.image_size_px,
        data=DataUse(root="data", fingerprint="f", images=1000),
        images_per_second=50.0 * processes,
        peak_memory_mb=7000.0,
        steps=40,
        processes=processes,
        environment=Environment(python="3.11", packages={}, git_commit=None, device=device, host="h"),
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-02T00:00:00+00:00",
    )
    (folder / "record.json").write_text(record.model_dump_json())
