"""A walk over a test set: every readable sample once, unreadable ones named, and none at all refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torchvision.transforms import v2

from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.evaluation import Walk
from benchmarks.engine.samples.images import Batch, ImageSamples
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.errors import WorkFailed
from benchmarks.inference import Inference
from benchmarks.text.progress import LINE_EVERY_SAMPLES, EvaluationLines

TENSOR = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
RUNNING = Inference(batch_size=10, workers=0, device="cpu", precision="fp32")


def walk_over(files: list[Path], limit: int = 100) -> Walk[Batch]:
    samples = ImageSamples(ImageFiles(Path("/"), files), None, TENSOR, replace=False)
    return Walk(nn.Dropout(), samples, torch.device("cpu"), RUNNING, Unreadable(limit))


def test_every_readable_sample_comes_once_and_no_batch_is_empty(small_digits: Path) -> None:
    files = sorted((small_digits / "unlabelled").iterdir())
    broken = [3, *range(10, 20)]  # one of the first batch, and the whole second one
    for position in broken:
        files[position].write_bytes(b"no image")
    walk = walk_over(files)
    positions = walk.results(lambda batch: batch.positions.tolist())
    assert [each for batch in positions for each in batch] == [n for n in range(len(files)) if n not in broken]
    assert all(positions), "a batch of which nothing could be read does not come"
    assert [text.split(":")[0] for text in walk.unreadable.names] == [str(files[position]) for position in broken]
    assert not walk.model.training


def test_predictions_do_not_depend_on_how_many_are_made_at_once(small_digits: Path) -> None:
    """Nor is any gradient kept; the largest batch is larger than the test set."""
    files, found = sorted((small_digits / "unlabelled").iterdir()), []
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=10)
    for size in (1, 7, 64):
        samples = ImageSamples(ImageFiles(Path("/"), files), None, TENSOR, replace=False)
        running = RUNNING.model_copy(update={"batch_size": size})
        walk = Walk(model, samples, torch.device("cpu"), running, Unreadable(0))
        logits = walk.results(lambda batch: model(batch.images))
        assert [len(each) for each in logits] == [len(range(at, min(at + size, 48))) for at in range(0, 48, size)]
        assert all(each.is_inference() for each in logits)
        found.append(torch.cat(logits))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-6)


def test_more_unreadable_files_than_are_allowed_end_the_walk(small_digits: Path) -> None:
    files = sorted((small_digits / "unlabelled").iterdir())
    for file in files[:3]:
        file.write_bytes(b"")
    with pytest.raises(WorkFailed, match=r"3 unreadable files, and data\.max_unreadable is 2"):
        walk_over(files, limit=2).results(len)


def test_a_test_set_of_which_nothing_can_be_read_is_refused(small_digits: Path) -> None:
    files = sorted((small_digits / "unlabelled").iterdir())[:12]
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(WorkFailed, match=re.escape(f"nothing of the test set could be read:\n    {files[0]}")):
        walk_over(files).results(len)


def test_lines_show_how_far_all_processes_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = EvaluationLines("searched", 700, "images")
    for done in range(1, 351):
        lines.show(done)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for done in range(1, 351):
        lines.show(done)
    monkeypatch.setenv("RANK", "1")
    lines.show(LINE_EVERY_SAMPLES)
    assert capsys.readouterr().err.splitlines() == ["searched 250 of 700 images", "searched 500 of 700 images"]
