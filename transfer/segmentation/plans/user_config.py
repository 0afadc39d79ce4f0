"""Reading a user's own mmsegmentation config, reduced to the parts that are taken from it.

A Python config is the user's own code, and reading it runs it, as mmsegmentation's own tools do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.config import digest_of
from benchmarks.errors import UserError

TAKEN = ("model", "train_pipeline", "test_pipeline", "tta_pipeline")


def config_digest(path: str) -> str:
    """Return the sha256 (hex) of the parts taken from a config, the files it is based on included."""
    return digest_of(read_parts(path))


def read_parts(path: str) -> dict[str, Any]:
    """Return the parts taken from a config, by the names in TAKEN. Raises UserError where one is missing."""
    from mmengine.config import Config

    try:
        config = Config.fromfile(path).to_dict()
    except FileNotFoundError as error:
        raise UserError.about("mmseg_config", path, "a file that exists", f"check the path ({error})") from None
    except Exception as error:  # any error of the user's own code, or of mmengine reading it
        rule = "a config file that mmengine can read (.py, .yaml, .json)"
        raise UserError.about("mmseg_config", path, rule, f"correct it: {type(error).__name__}: {error}") from error
    found: dict[str, Any] = {"model": config.get("model"), "tta_pipeline": config.get("tta_pipeline")}
    for name in ("train_pipeline", "test_pipeline"):
        found[name] = pipeline_of(config, name)
    for name in ("model", "train_pipeline", "test_pipeline"):
        if not found[name]:
            rule = f"a complete config of mmsegmentation 1.x, with {', '.join(TAKEN[:3])}"
            raise UserError.about("mmseg_config", path, rule, f"{name} is missing: add it, or its _base_ file")
    return found


def pipeline_of(config: Mapping[str, Any], name: str) -> Any:
    """Return the pipeline that mmseg itself would run: that of the data set of its loader, inside any wrappers."""
    loader = config.get(name.replace("pipeline", "dataloader"))
    dataset = (loader.get("dataset") if isinstance(loader, dict) else None) or {}
    while isinstance(dataset, dict) and "pipeline" not in dataset and isinstance(dataset.get("dataset"), dict):
        dataset = dataset["dataset"]
    return (dataset.get("pipeline") if isinstance(dataset, dict) else None) or config.get(name)
