"""The examples: every pipeline is planned for every cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import ROOT, here

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("cluster", sorted((EXAMPLES / "clusters").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("pipeline", sorted((EXAMPLES / "pipelines").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_is_planned(pipeline: Path, cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = here("pipeline", "plan", str(pipeline), "--cluster", str(cluster), "--no-data-check")
    assert done.returncode == 0, done.stderr
    assert "stages, 0 done already" in done.stdout
    assert f"mimbench report leaderboard pipelines/{pipeline.stem.replace('_', '-')}" in done.stdout
