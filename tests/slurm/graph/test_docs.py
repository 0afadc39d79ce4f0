"""The files that docs/pipelines.md shows are valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import mimbench
from benchmarks.catalogue.suites import TASKS_OF
from slurm.graph.check import load_pipeline
from slurm.graph.cluster import load_cluster
from slurm.graph.sweep import without_sweeps
from tests.support.command import ROOT

BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "pipelines.md").read_text(), re.DOTALL)
STUDY, *MORE = (block for block in BLOCKS if "executor:" not in block)
CLUSTERS = [block for block in BLOCKS if "executor:" in block]


def test_the_pipeline_with_its_chain_and_its_sweeps_passes_the_check(tmp_path: Path) -> None:
    parts = [f"fine_grained/{part.name}" for part in TASKS_OF["fine_grained"]]
    for name in ("imagenet", "inaturalist", "own_images", *parts):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "their_swin.pth").touch()
    study, *more = (yaml.safe_load(re.sub("/(data|models)/", f"{tmp_path}/", block)) for block in (STUDY, *MORE))
    for section, entries in (item for part in more for item in part.items()):
        study[section] |= entries
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "mine.yaml").write_text(CLUSTERS[0])
    file = load_pipeline(tmp_path / "study.yaml", cluster=load_cluster(str(tmp_path / "mine.yaml")))
    assert {*file.pretrain} == {"simmim", "first", "second", "ratio", "rates"}
    assert {f"fine_linear-{part.name}" for part in TASKS_OF["fine_grained"]} <= file.tasks.keys()
    assert sum(name.startswith("probe-") for name in without_sweeps(file).tasks) == 4


@pytest.mark.parametrize("block", CLUSTERS, ids=["slurm", "local"])
def test_the_cluster_files_are_valid(tmp_path: Path, block: str) -> None:
    (tmp_path / "mine.yaml").write_text(block)
    load_cluster(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("page", ["estimates.md", "pipelines.md"])
def test_what_commands_are_shown_to_print_is_what_they_print(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a plan without its warnings and commands, which the page leaves out."""
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"```\n(\$ .*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    assert shown
    for block in shown:
        *files, last = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        for file in files:
            words, _, content = file.partition("\n")
            Path(words.removeprefix("cat ")).write_text(content)
        command, _, printed = last.partition("\n")
        assert mimbench.main(shlex.split(command)[1:]) == 0
        assert capsys.readouterr().out.partition("warning: ")[0].rstrip() == printed.rstrip()
