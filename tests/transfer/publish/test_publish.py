"""A published folder: timm alone computes the run's features from it, and its card holds what was measured."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import mimbench
from benchmarks.encoders import read_encoder
from benchmarks.errors import UserError
from benchmarks.verbs.statement import EncoderStatement
from tests.support.random_weights import of_timm, randomise
from tests.support.runs import record_of
from transfer.publish.licence import stated_licence
from transfer.publish.model import find_published
from transfer.sources.references import resolve

LICENCE = ["--license", "apache-2.0"]


def publish(reference: Path | str, out: Path, *more: str) -> int:
    return mimbench.main(["checkpoint", "publish", str(reference), "--out", str(out), *LICENCE, *more])


def names_in(data: object) -> Iterator[str]:
    """Yield every key of JSON data, at any depth."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield name
            yield from names_in(value)


def test_timm_alone_computes_the_features_of_the_run(simmim_run: Path, tmp_path: Path) -> None:
    """In a process without this program, against timm's own class with the run's exported tensors."""
    out = tmp_path / "published"
    assert publish(simmim_run, out) == 0
    manifest, weights = read_encoder(simmim_run / "encoder")
    theirs: Any = timm.create_model(manifest.architecture.name, num_classes=0, **manifest.architecture.arguments)
    theirs.load_state_dict(weights, strict=False)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.eval().forward_features(images)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, timm, torch; model = timm.create_model('local-dir:' + sys.argv[1], pretrained=True).eval()\n"
        "with torch.no_grad(): found = model.forward_features(torch.load(sys.argv[2]))\n"
        "assert not any(name.split('.')[0] in ('benchmarks', 'transfer', 'mimbench') for name in sys.modules)\n"
        "torch.save((found, model.num_classes, timm.data.resolve_model_data_config(model)), sys.argv[3])"
    )
    command = [sys.executable, "-c", code, str(out), str(tmp_path / "images.pt"), str(tmp_path / "found.pt")]
    subprocess.run(command, check=True, cwd=tmp_path, env={"PATH": "", "OMP_NUM_THREADS": "1"})
    found, num_classes, config = torch.load(tmp_path / "found.pt")
    assert torch.equal(found, expected)
    assert num_classes == 0
    assert config["input_size"] == (3, 32, 32)
    assert (tuple(config["mean"]), tuple(config["std"])) == (manifest.mean, manifest.std)


def test_the_card_holds_every_score_of_this_encoder_with_its_run(
    simmim_run: Path, finetuned_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, record = tmp_path / "published", record_of(finetuned_run)
    assert publish(simmim_run, out, "--runs", str(finetuned_run.parent)) == 0
    assert "are the same to the last bit" in capsys.readouterr().out
    card = ModelCard.load(out / "README.md")
    results = {each.metric_name: each for each in card.data.eval_results or ()}
    top1 = results["top1 (%)"]
    assert top1.metric_value == round(record.metrics["top1"].last, 4)
    assert (top1.metric_type, top1.task_type) == ("accuracy", "image-classification")
    assert (top1.dataset_name, top1.dataset_type) == ("digits", "digits")
    assert (top1.source_name, top1.source_url) == (record.run_id, f"runs/{record.run_id}.json")
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "timm")
    assert f"| {record.run_id.replace('_', '_')} |" in card.text
    assert read_encoder(simmim_run / "encoder")[0].sha256 in card.text
    assert "simmim" in card.text
    public = json.loads((out / "runs" / f"{record.run_id}.json").read_text())
    assert public["metrics"]["top1"]["last"] == record.metrics["top1"].last
    assert public["encoder"]["sha256"] == record.encoder.sha256  # type: ignore[union-attr]
    for name in out.rglob("*"):
        text = name.read_bytes() if name.is_file() else b""
        assert str(finetuned_run.parent.parent).encode() not in text, name  # no folder of this machine
    assert not {"host", "command", "root", "label", "reference"} & {*names_in(public)}


def test_what_a_run_says_in_public_has_no_folders(simmim_run: Path, finetuned_run: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "runs" / "one", tmp_path / "out"
    shutil.copytree(finetuned_run, run)
    record = json.loads((run / "record.json").read_text())
    record["recipe"]["name"] = "/home/somebody/secret/mine.yaml"
    record["recipe"]["overrides"] += ["data.root=/home/somebody/secret/data", "data.subset.list='/home/somebody/a.txt'"]
    record["recipe"]["resolved"]["data"]["subset"] = {"list": "~/somebody/a.txt"}
    (run / "record.json").write_text(json.dumps(record))
    assert publish(simmim_run, out, "--runs", str(run)) == 0
    (public,) = (out / "runs").iterdir()
    text = public.read_text() + (out / "README.md").read_text()
    assert "somebody" not in text
    assert "mine.yaml" in text
    assert "data.root" not in text  # it says where, not what


def test_scores_of_another_encoder_are_not_taken(
    finetuned_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fine-tuned encoder is another one than that which its run started from."""
    out = tmp_path / "published"
    assert publish(finetuned_run, out, "--runs", str(finetuned_run.parent)) == 0
    assert "no scores" in capsys.readouterr().out
    assert ModelCard.load(out / "README.md").data.eval_results is None


def test_mimbench_reads_back_what_it_published(simmim_run: Path, tmp_path: Path) -> None:
    assert publish(simmim_run, tmp_path / "published") == 0
    again, before = (
        resolve(str(tmp_path / "published"), EncoderStatement(stage="self-supervised")),
        resolve(str(simmim_run)),
    )
    assert again.read is not None
    assert before.read is not None
    expected = before.read()
    for name, tensor in again.read().items():
        assert torch.equal(tensor, expected[name]), name
    assert again.use.architecture == before.use.architecture.at_size(32)
    assert again.normalisation == before.normalisation


def test_a_classifier_keeps_its_score(finetuned_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The published folder is scored as any other's model: timm's preprocessing from its config.json, its own head."""
    out, record = tmp_path / "published", record_of(finetuned_run)
    assert publish(finetuned_run, out, "--head") == 0
    config = json.loads((out / "config.json").read_text())
    assert config["num_classes"] == 10
    assert config["pretrained_cfg"]["label_names"] == [str(digit) for digit in range(10)]
    top1 = next(
        each for each in ModelCard.load(out / "README.md").data.eval_results or () if "top1 " in str(each.metric_name)
    )
    assert (top1.metric_value, top1.source_name) == (round(record.metrics["top1"].last, 4), record.run_id)
    capsys.readouterr()
    command = ["evaluate", "digits", "--model", str(out), "--stage", "fine-tuned", "image_size_px=32"]
    assert mimbench.main([*command, f"data.root={record.data.root}", "--runs", str(tmp_path / "runs")]) == 0
    assert f"top1 {record.metrics['top1'].last:.1f}" in capsys.readouterr().out


def test_a_file_of_others(tmp_path: Path) -> None:
    """A DINO file, whose names and heads are not timm's config's."""
    model = randomise(of_timm("vit_small_patch16_224", embed_dim=64, depth=2, num_heads=1, img_size=48))
    torch.save(
        {"teacher": {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}}, tmp_path / "x.pth"
    )
    assert (
        publish(tmp_path / "x.pth", tmp_path / "out", "--stage", "self-supervised", "--pretrained-on", "my data") == 0
    )
    theirs: Any = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(theirs(images), model(images))
    assert "my data" in (tmp_path / "out" / "README.md").read_text()


def test_the_same_again_is_the_same_to_the_byte(simmim_run: Path, finetuned_run: Path, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        out = tmp_path / "published"
        assert publish(simmim_run, out, "--runs", str(finetuned_run.parent)) == 0
        found.append({each.relative_to(out): each.read_bytes() for each in out.rglob("*") if each.is_file()})
    assert found[0] == found[1]
    assert {str(name) for name in found[0]} >= {"README.md", "config.json", "model.safetensors", "mimbench.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["published"]  # nothing else stays
    assert publish(simmim_run, tmp_path / "published") == 0  # without the runs: theirs is gone
    assert list((tmp_path / "published" / "runs").iterdir()) == []


def test_nothing_of_others_is_overwritten(simmim_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("my own")
    assert publish(simmim_run, mine) == 2
    assert (mine / "README.md").read_text() == "my own"
    assert publish(simmim_run, mine / "README.md") == 2
    out = tmp_path / "published"
    assert publish(simmim_run, out) == 0
    (out / "README.md").write_text("edited by me")
    (out / "notes.txt").write_text("mine, too")
    assert publish(simmim_run, out) == 2
    assert "this file is another one now" in capsys.readouterr().err
    assert (out / "README.md").read_text() == "edited by me"
    (out / "README.md").unlink()
    assert publish(simmim_run, out) == 0
    assert (out / "notes.txt").read_text() == "mine, too"


def test_a_mark_that_names_files_elsewhere_removes_none(simmim_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "published"
    out.mkdir()
    (tmp_path / "precious").write_text("mine")
    (out / "mimbench.json").write_text(
        json.dumps({"files": {"../precious": "0" * 64, str(tmp_path / "precious"): "0"}})
    )
    assert publish(simmim_run, out) == 0
    assert (tmp_path / "precious").read_text() == "mine"
    (out / "model.safetensors").unlink()
    (out / "model.safetensors").symlink_to(tmp_path / "precious")
    assert publish(simmim_run, out) == 2
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--license", "Apache 2.0"], "an identifier"),
        (["--license", "other"], "https address"),
        (["--license", "mit", "--license-link", "https://example.org"], "other, where"),
        (["--push", "nobody"], "OWNER/NAME"),
        (["--push", "../x"], "OWNER/NAME"),
        (["--public"], "add --push"),
        (["--dry-run"], "add --push"),
        (["--head"], "fine-tuned a classifier"),
    ],
)
def test_wrong_requests(
    simmim_run: Path, tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(simmim_run, tmp_path / "out", *more) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("mit", None),
        ("openrail++", None),
        ("apache2.0", "did you mean apache-2.0?"),
        ("nonsense", "--license nonsense is an identifier that mimbench does not know: huggingface.co/docs"),
    ],
)
def test_a_licence_that_the_hub_does_not_list_is_noted(name: str, note: str | None) -> None:
    found = stated_licence(name, None, None)
    assert found.name == name
    assert (found.note is None) if note is None else (note in (found.note or ""))


def test_the_licence_is_asked_for(simmim_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["checkpoint", "publish", str(simmim_run), "--out", str(tmp_path / "out")]) == 2
    assert "--license = (not given)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("random:digits_swin", "an encoder that has weights"),
        ("python:tests.support.own_encoders:tiny_cnn", "timm itself"),
    ],
)
def test_what_timm_cannot_hold(reference: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        find_published(reference, EncoderStatement(stage="supervised"))


def test_clips_and_torchvisions_networks_are_refused(tmp_path: Path) -> None:
    """`videomae_vit_small` is registered by this program alone: timm elsewhere does not know it."""
    from benchmarks.encoders import Architecture
    from benchmarks.engine.backbone import build_backbone

    for name, said in (
        ("videomae_vit_small", "an encoder of clips"),
        ("torchvision:mobilenet_v3_small", "--to torchvision"),
    ):
        model = randomise(build_backbone(Architecture(name=name), None))
        torch.save(model.state_dict(), tmp_path / "x.pth")
        with pytest.raises(UserError, match=said):
            find_published(str(tmp_path / "x.pth"), EncoderStatement(stage="self-supervised", architecture=name))


def test_weights_that_nobody_trained(tmp_path: Path) -> None:
    model = of_timm("vit_small_patch16_224", embed_dim=64, depth=2, num_heads=1, img_size=48)
    torch.save(model.state_dict(), tmp_path / "x.pth")
    with pytest.raises(UserError, match="weights that a training left behind"):
        find_published(str(tmp_path / "x.pth"), EncoderStatement(stage="supervised"))


def test_an_eps_that_timm_takes_no_argument_for_is_refused_where_it_shows(
    simmim_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Norms with an eps of 0.1 compute something else, and timm's config.json cannot say so."""
    run = tmp_path / "run"
    shutil.copytree(simmim_run, run)
    manifest = json.loads((run / "encoder" / "manifest.json").read_text())
    manifest["architecture"]["norm_eps"] = 0.1
    (run / "encoder" / "manifest.json").write_text(json.dumps(manifest))
    assert publish(run, tmp_path / "out") == 2
    assert "a model that timm holds as it is" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_are_the_runs(simmim_run: Path, tmp_path: Path) -> None:
    assert publish(simmim_run, tmp_path / "out") == 0
    ours = read_encoder(simmim_run / "encoder")[1]
    for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items():
        assert torch.equal(tensor, ours[name]), name
