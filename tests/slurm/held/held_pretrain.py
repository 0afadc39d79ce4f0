"""The real `mimbench pretrain`, which a test can hold: a fault then finds it after the same step on any machine.

While the file `<stage>.hold` lies in the folder CHEAP_STAGES, every rank waits after step HELD_AFTER, until the file is
gone or a stop is requested. `diary.jsonl` there has a line for each rank that begins to wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engine.watch.stop import StopRequest
from benchmarks.verbs.initial import FindInitial
from pretrain import cli
from pretrain.run.train import MaskedImageModelling
from tests.slurm.stub.cheap_stage import note

HELD_AFTER = 3


def main(argv: Sequence[str], find_initial: FindInitial) -> int:
    desk, stage = Path(os.environ["CHEAP_STAGES"]), Path(argv[argv.index("--announce") + 1]).stem
    really = MaskedImageModelling.after_step

    def after_step(problem: MaskedImageModelling, step: int) -> None:
        really(problem, step)
        if step == HELD_AFTER:
            note(desk, stage, "held")
            with StopRequest.entered() as stop:  # the training loop's own
                while (desk / f"{stage}.hold").exists() and not stop.requested:
                    time.sleep(0.02)

    MaskedImageModelling.after_step = after_step  # type: ignore[method-assign]
    return cli.main(argv, find_initial)
