"""The data of a pipeline, looked at as its stages will: what they would be refused is refused before anything."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.catalogue.tasks import find_task
from benchmarks.data.fingerprint import without_contents
from benchmarks.data.remote.paths import data_path
from benchmarks.errors import UserError, WorkFailed
from benchmarks.training.training import require_full_batch
from pretrain.run.image_files import find_images
from slurm.graph.check import different_works, load_work
from slurm.graph.pipeline import PipelineFile
from slurm.graph.placing import StageWork
from transfer.adapter import adapter_for

QUIET_S = 2.0
"""How long looking through a data set may take before it is said."""


def require_data(file: PipelineFile) -> dict[str, int]:
    """Return the number of training images, or videos, of each entry of a checked file: `{"pretrain.simmim": 1281167}`.

    What several entries share is looked through once. Raises one UserError that names every entry whose data is unfit
    for its task, or too little for its batch.
    """
    counts: dict[str, set[int]] = {}
    known: dict[str, int | str] = {}
    mistakes: dict[str, None] = {}
    for found in different_works(file):
        recipe: Any = load_work(found.work, found.task, found.source).config
        what = _what_decides(found, recipe)
        if what not in known:
            with _said_when_slow(found.field, recipe.data.root), without_contents():
                known[what] = _words_or(partial(_count, found, recipe))
        if isinstance(answer := known[what], int):
            answer = _words_or(partial(_count_for_batch, recipe, answer))
        if isinstance(answer, int):
            counts.setdefault(found.field, set()).add(answer)
        else:
            mistakes[f"{found.field}: {answer}"] = None
    if mistakes:
        rule = "Where the data lies on the nodes alone, --no-data-check leaves it to the stages."
        raise UserError("\n".join(["the data does not fit:", *mistakes, rule]))
    return {field: answers.pop() for field, answers in counts.items() if len(answers) == 1}


def _what_decides(found: StageWork, recipe: Any) -> str:
    """Return what the answer for an entry depends on, as text."""
    parts = {name: value for name, value in recipe.model_dump(mode="json").items() if name in ("data", "validation")}
    channels = recipe.encoder.in_chans if found.task is None else None
    return json.dumps([found.kind, parts, channels, getattr(recipe, "engine", None)], sort_keys=True)


def _words_or(answer: Callable[[], int]) -> int | str:
    try:
        return answer()
    except (UserError, WorkFailed) as error:
        return str(error)


def _count(found: StageWork, recipe: Any) -> int:
    if found.task is None:
        return len(find_images(recipe, data_path(recipe.data.root)).training)
    task = find_task(found.task)
    data: Any = adapter_for(task).find_data(task, recipe)
    return len(data.train)


def _count_for_batch(recipe: Any, images: int) -> int:
    if (training := getattr(recipe, "training", None)) is not None:  # some protocols train nothing
        require_full_batch(images, training.batch_size)
    return images


@contextmanager
def _said_when_slow(field: str, root: str) -> Iterator[None]:
    words = f"looking through the data of {field}, {root} (--no-data-check leaves it to the stages)"
    timer = threading.Timer(QUIET_S, lambda: print(words, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
