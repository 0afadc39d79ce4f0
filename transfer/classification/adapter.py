"""Image classification as a kind of task, with one protocol for each way of using the encoder."""

from __future__ import annotations

from benchmarks.catalogue.task import Task
from benchmarks.config import Family
from benchmarks.data.remote.paths import RemotePath, data_path
from benchmarks.runs.record import LoadReport
from transfer.adapter import Asked, Trained
from transfer.classification.frozen.recipe import AttentiveRecipe, FewShotRecipe, LogisticRecipe
from transfer.classification.recipe import (
    ClassificationRecipe,
    EvaluateRecipe,
    FinetuneRecipe,
    KnnRecipe,
    LinearRecipe,
)
from transfer.images.labelled import ClassificationSets
from transfer.protocols import OfProtocols, Protocols
from transfer.sources.source import Source

PROTOCOLS: Protocols = {
    "finetune": (FinetuneRecipe, "transfer.classification.finetune:Finetuning"),
    "linear": (LinearRecipe, "transfer.classification.linear:LinearProbing"),
    "attentive": (AttentiveRecipe, "transfer.classification.attentive:AttentiveProbing"),
    "knn": (KnnRecipe, "transfer.classification.knn:nearest_neighbours"),
    "logistic": (LogisticRecipe, "transfer.classification.frozen.regression:logistic_regression"),
    "few-shot": (FewShotRecipe, "transfer.classification.frozen.few_shot:few_shot"),
    "evaluate": (EvaluateRecipe, "transfer.classification.headed:evaluate_classifier"),
}


class ClassificationAdapter(OfProtocols):
    """Classification with the protocol that the recipe names; all protocols read the same data."""

    recipe = Family("protocol", {name: recipe for name, (recipe, _) in PROTOCOLS.items()}, default="finetune")
    config_field = None
    protocols = PROTOCOLS

    def missing_requirements(self) -> list[str]:
        return []

    def find_data(self, task: Task, recipe: ClassificationRecipe) -> ClassificationSets:
        from transfer.images.read import read_classification_data, read_test_images  # NumPy, which recipes need not

        if recipe.data.root is not None and not isinstance(root := data_path(recipe.data.root), RemotePath):
            task.provide(root)
        if isinstance(recipe, EvaluateRecipe):
            return read_test_images(recipe.data, task.num_classes)
        return read_classification_data(recipe.data, task.num_classes, recipe.held_out)

    def test_set_alone(self, recipe: ClassificationRecipe) -> ClassificationRecipe:
        return recipe

    def would_load(self, recipe: ClassificationRecipe, source: Source) -> LoadReport:
        from transfer.classification.would_load import would_load

        return would_load(recipe, source)

    def trained(self, asked: Asked) -> Trained:
        from transfer.sources.headed import headed_source  # torch, only now that there is work

        asked.require_left_out("config")
        source = headed_source(asked.reference, asked.said, asked.label, asked.head_classes)
        made = source.protocol
        stated = (f"image_size_px={made.image_size_px}", f"preprocessing={made.preprocessing.model_dump_json()}")
        return Trained(source, "imagenet1k_evaluate", stated, made.published, made.stated_by)
