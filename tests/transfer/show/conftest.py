"""One finished run of each kind of task on a few digits, shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

import mimbench
from tests.conftest import MadeOnce
from tests.support import small
from tests.support.runs import only_run
from tests.support.small import RANDOM
from tests.transfer.kinds import DETECTION, SEGMENTATION, VIDEO, Kind
from tests.transfer.show.twin import Finished

SAVED = {DETECTION.name: ["testing.save_predictions=true"], SEGMENTATION.name: ["testing.save_predictions=true"]}


@pytest.fixture(scope="session")
def finished(made_once: MadeOnce, request: pytest.FixtureRequest) -> Finished:
    """Return a function of a kind of task: the folder of a run that is finished, and that no test may change."""

    def run_of(kind: Kind) -> Path:
        kind.require()
        whole = request.getfixturevalue(kind.whole)

        def fill(root: Path) -> None:
            data = kind.cut(whole, root / "data")
            if kind in (DETECTION, SEGMENTATION, VIDEO):
                command = [*kind.command(data), *kind.shorter, *SAVED.get(kind.name, [])]
            else:
                command = [*small.classification(data)[:3], "--recipe", "digits_knn", "image_size_px=32", "k=5"]
                command += ["other_k=[]", "inference.workers=0"]
            command += [*RANDOM, "--label", "one", "--runs", str(root / "runs")]
            assert mimbench.main(command) == 0

        return only_run(made_once(f"shown_{kind.name}", fill) / "runs")

    return run_of
