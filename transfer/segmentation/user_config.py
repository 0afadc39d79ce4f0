"""A user's own mmsegmentation config: its heads, losses, pipelines and test_cfg around our encoder.

A Python config is the user's own code, and reading it runs it, as mmsegmentation's own tools do.
"""

from __future__ import annotations

import itertools
from typing import Any

from benchmarks.config import digest_of
from benchmarks.errors import UserError
from transfer.segmentation.plan import Pipeline, Plan, adapted_head
from transfer.segmentation.recipe import SegmentationRecipe

LOADERS = ("LoadImageFromFile", "LoadAnnotations")
"""Left out of pipelines: images and masks are read, and their faults counted, by this program."""
TAKEN = ("model", "train_pipeline", "test_pipeline", "tta_pipeline")
OURS = ("mean", "std", "bgr_to_rgb", "rgb_to_bgr", "type")
"""What the data preprocessor is told by the encoder."""


def config_digest(path: str) -> str:
    """Return the sha256 (hex) of what is taken from a config, with the files it is based on."""
    return digest_of(_parts(path))


def plan_of_config(recipe: SegmentationRecipe, channels: tuple[int, ...], num_classes: int) -> Plan:
    """Return the plan of the recipe's config. Raises UserError for a file that mmseg or this program cannot use."""
    assert recipe.mmseg_config is not None
    parts = _parts(recipe.mmseg_config)
    model = dict(parts["model"])
    preprocessor = model.pop("data_preprocessor", None) or {}
    notes = [
        f"{recipe.mmseg_config}: optimiser, schedule, length and batch are the recipe's; the backbone is --encoder"
    ]
    for name in ("backbone", "pretrained", "init_cfg"):
        model.pop(name, None)
    if (neck := model.pop("neck", None)) is not None:
        notes.append(f"model.neck ({neck.get('type')}) is left out: the encoder gives maps of strides 4, 8, 16 and 32")
    for name in ("decode_head", "auxiliary_head"):
        if model.get(name):
            model[name] = _heads(model[name], channels, num_classes, f"model.{name}")
    if "decode_head" not in model:
        raise UserError.about("model", sorted(model), "a decode_head (an EncoderDecoder)", "name such a config")
    return Plan(
        model,
        _without_loaders(parts["train_pipeline"]),
        _without_loaders(parts["test_pipeline"]),
        _augmented(parts["tta_pipeline"], recipe),
        {name: value for name, value in preprocessor.items() if name not in OURS},
        tuple(notes),
    )


def _heads(heads: Any, channels: tuple[int, ...], num_classes: int, where: str) -> Any:
    if isinstance(heads, dict):
        return adapted_head(heads, channels, num_classes, where)
    return [adapted_head(head, channels, num_classes, f"{where}[{i}]") for i, head in enumerate(heads)]


def _parts(path: str) -> dict[str, Any]:
    """Read a config; return what is taken from it. Raises UserError where that is not there."""
    from mmengine.config import Config

    try:
        config = Config.fromfile(path).to_dict()
    except FileNotFoundError as error:
        raise UserError.about("mmseg_config", path, "a file that exists", f"check the path ({error})") from None
    except Exception as error:  # any error of the user's own code, or of mmengine reading it
        rule = "a config file that mmengine can read (.py, .yaml, .json)"
        raise UserError.about("mmseg_config", path, rule, f"mend it: {type(error).__name__}: {error}") from error
    found: dict[str, Any] = {"model": config.get("model"), "tta_pipeline": config.get("tta_pipeline")}
    for name, loader in (("train_pipeline", "train_dataloader"), ("test_pipeline", "test_dataloader")):
        found[name] = _pipeline(config.get(loader)) or config.get(name)
    for name in ("model", "train_pipeline", "test_pipeline"):
        if not found[name]:
            rule = f"a complete config of mmsegmentation 1.x, with {', '.join(TAKEN[:3])}"
            raise UserError.about("mmseg_config", path, rule, f"{name} is missing: add it, or its _base_ file")
    return found


def _pipeline(loader: Any) -> Pipeline | None:
    """Return the pipeline that mmseg itself would run: the data set's, below any wrappers."""
    dataset = (loader or {}).get("dataset") or {}
    while "pipeline" not in dataset and isinstance(dataset.get("dataset"), dict):
        dataset = dataset["dataset"]
    return dataset.get("pipeline")


def _without_loaders(pipeline: Pipeline) -> Pipeline:
    return [step for step in pipeline if step.get("type") not in LOADERS]


def _augmented(pipeline: Pipeline | None, recipe: SegmentationRecipe) -> list[Pipeline]:
    """Return one pipeline per combination that the config's TestTimeAug would run."""
    if not recipe.testing.multi_scale:
        return []
    steps = [step for step in pipeline or [] if step.get("type") == "TestTimeAug"]
    if not steps:
        rule = "a tta_pipeline with TestTimeAug in the config"
        remedy = "add one, or set testing.multi_scale=[]"
        raise UserError.about("testing.multi_scale", recipe.testing.multi_scale, rule, remedy)
    choices = [kept for group in steps[0]["transforms"] if (kept := _without_loaders(group))]
    return [list(combination) for combination in itertools.product(*choices)]
