"""The pipeline files that come with the program, by name, and their shortened forms on handwritten digits."""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmarks.errors import UserError, did_you_mean
from benchmarks.files.yaml_files import read_yaml

PIPELINES = Path(__file__).parent.parent / "pipelines"
SHORTENED = PIPELINES / "shortened"


def shipped_pipelines() -> dict[str, Path]:
    """Return the pipeline files that come with the program, by name."""
    return {path.stem: path for path in sorted(PIPELINES.glob("*.yaml"))}


def find_pipeline_file(source: Path) -> Path:
    """Return a pipeline file given by path, or by the name of one that ships. Raises UserError where there is none."""
    if os.path.isfile(source):  # which no text is too long for
        return source
    if source.suffix in {".yaml", ".yml"} or len(source.parts) != 1:
        remedy = "check the path, or name one that `mimbench list pipelines` shows"
        raise UserError.about("pipeline", str(source), "a pipeline file that exists", remedy)
    shipped = shipped_pipelines()
    if source.name not in shipped:
        rule = "a pipeline's name, or the path of a YAML file"
        raise UserError.about("pipeline", str(source), rule, did_you_mean(source.name, shipped))
    return shipped[source.name]


def shortened_studies() -> list[str]:
    """Return the names of the pipelines that have a shortened form."""
    return sorted(path.stem for path in SHORTENED.glob("*.yaml"))


def shortening(study: str) -> list[str]:
    """Return the overrides that make a pipeline small enough for a laptop, and run on handwritten digits.

    They change what is trained, on what and for how long; which stages there are stays as it is, but for sweeps, of
    which fewer members are left. Raises UserError for a pipeline that has no such form.
    """
    if study not in shortened_studies():
        rule = "a pipeline that has a shortened form"
        raise UserError.about("--study", study, rule, did_you_mean(study, shortened_studies()))
    return [f"{field}={json.dumps(value)}" for field, value in read_yaml(SHORTENED / f"{study}.yaml").items()]
