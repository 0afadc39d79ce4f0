"""`--encoder mae:vit_base`: fetched from a real server, verified, read by the ordinary reader, on record."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import mimbench
from benchmarks.catalogue.checkpoints import OWN_FILE, Checkpoint, Digest, find_checkpoint, load_checkpoints
from benchmarks.errors import UserError, WorkFailed
from benchmarks.runs.record import Published
from benchmarks.verbs.statement import EncoderStatement
from slurm.graph.check import load_pipeline
from tests.support.command import ROOT
from tests.support.random_weights import of_timm, randomise
from tests.support.runs import only_run, record_of
from tests.transfer.published.server import Served, serving
from transfer.checkpoint.content.digest import weights_sha256
from transfer.sources.published import download as module
from transfer.sources.published.fetched import CACHE, fetched, place_of
from transfer.sources.references import resolve

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 1}


@pytest.fixture(scope="module")
def weights() -> bytes:
    """A small ViT as MAE's authors publish theirs: an encoder alone, under `model`."""
    tensors = randomise(of_timm("vit_base_patch16_224", **SMALL)).state_dict()
    data = io.BytesIO()
    torch.save({"model": tensors}, data)
    return data.getvalue()


@pytest.fixture
def served(weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server, and a cache and a catalogue of one's own."""
    monkeypatch.setattr(module, "WAITS_S", (0.0, 0.0))
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv(OWN_FILE, str(tmp_path / "catalogue.yaml"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving(weights) as found:
        catalogue(tmp_path, found, "sha256:" + hashlib.sha256(weights).hexdigest()[:8])
        yield found


def catalogue(folder: Path, served: Served, digest: str | None, **more: object) -> None:
    row = {"architecture": "vit_base_patch16_224", "epochs": 1600, "address": served.address, "digest": digest, **more}
    group = {"page": "https://example.org/lab", "licence": "CC-BY-NC-4.0", "method": "mae", "data": "ImageNet-1K"}
    group |= {"stage": "self-supervised", "checkpoints": {"lab:small": {k: v for k, v in row.items() if v is not None}}}
    (folder / "catalogue.yaml").write_text(json.dumps({"groups": [group]}))


def small() -> tuple[Path, Published]:
    return fetched(find_checkpoint("lab:small"))


def test_a_transfer_fetches_verifies_and_records_it(
    served: Served, transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.answers = ["break:100000"]
    command = [*transfer_command, "--encoder", "lab:small", "patch_size_px=8", "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == 0
    use = record_of(only_run(tmp_path / "runs")).encoder
    assert use is not None
    assert use.published == Published(
        name="lab:small",
        address=served.address,
        page="https://example.org/lab",
        file_sha256=hashlib.sha256(served.content).hexdigest(),
        bytes=len(served.content),
        verified="the first 8 of 64 digits of its sha256",
    )
    assert (use.label, use.reference, use.init_stage, use.epochs) == ("lab:small", "lab:small", "self-supervised", 1600)
    assert use.pretraining_data is not None
    assert [data.name for data in use.pretraining_data] == ["ImageNet-1K"]
    assert "licence CC-BY-NC-4.0" in capsys.readouterr().out
    by_path = resolve(str(place_of(find_checkpoint("lab:small"))), EncoderStatement(stage="self-supervised"))
    assert by_path.use.sha256 == use.sha256  # the very file, by its path
    asked = len(served.asked)
    assert mimbench.main(["checkpoint", "inspect", "lab:small"]) == 0
    assert len(served.asked) == asked == 2  # one broken and continued; then from the cache


def test_another_file_is_refused_and_removed(served: Served) -> None:
    served.content = served.content[:-1] + b"?"
    with pytest.raises(WorkFailed, match=r"its sha256 is \w{64}, and the first 8 .* should be .*; it was removed"):
        small()
    assert not place_of(find_checkpoint("lab:small")).exists()


def test_md5_as_mae_publishes_it(served: Served, tmp_path: Path) -> None:
    catalogue(tmp_path, served, "md5:" + hashlib.md5(served.content).hexdigest()[:6])
    assert small()[1].verified == "the first 6 of 32 digits of its md5"


def test_without_a_digest_it_says_so_and_notes_a_later_change(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue(tmp_path, served, None)
    path, use = small()
    sha256 = hashlib.sha256(served.content).hexdigest()
    assert (use.verified, use.file_sha256) == (None, sha256)
    assert f"not verified, since no digest of it is published; its sha256 is {sha256}" in capsys.readouterr().out
    path.write_bytes(served.content[:-1] + b"?")
    with pytest.raises(WorkFailed, match=f"was {sha256} when it was downloaded") as caught:
        small()
    assert "remove" in str(caught.value)
    assert path.exists()  # what a person may have put there is not removed


def test_put_there_by_hand(served: Served, tmp_path: Path, weights: bytes) -> None:
    catalogue(tmp_path, served, "sha256:" + hashlib.sha256(weights).hexdigest(), bytes=len(weights))
    path = place_of(find_checkpoint("lab:small"))
    path.parent.mkdir(parents=True)
    path.write_bytes(weights)
    assert small()[1].verified == "sha256"
    assert served.asked == []
    path.write_bytes(b"another")
    with pytest.raises(WorkFailed, match="is not lab:small as it was published"):
        small()


@pytest.mark.parametrize("why", ["404", "offline", "unreachable", "by hand"])
def test_it_says_where_to_put_the_file(
    served: Served,
    tmp_path: Path,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if why == "404":
        served.answers = [404]
    elif why == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    elif why == "unreachable":
        catalogue(tmp_path, served, None, address="http://127.0.0.1:1/weights.pth")
    else:
        text = (tmp_path / "catalogue.yaml").read_text()
        (tmp_path / "catalogue.yaml").write_text(text.replace('"page"', '"by_hand": "it asks for a form", "page"'))
    assert mimbench.main(["transfer", "digits", "--encoder", "lab:small", "--print"]) == 1
    said = capsys.readouterr().err
    assert find_checkpoint("lab:small").address in said
    assert str(tmp_path / "cache" / "lab" / "small" / "weights.pth") in said
    assert "https://example.org/lab" in said
    assert (served.asked == []) == (why != "404")


def test_many_processes_fetch_it_once(served: Served) -> None:
    code = "import mimbench; from benchmarks.catalogue.checkpoints import find_checkpoint as f\n"
    code += "from transfer.sources.published.fetched import fetched; fetched(f('lab:small'))"
    begun = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate()[0] for process in begun]
    assert [process.returncode for process in begun] == [0, 0, 0]
    assert len(served.asked) == 1
    assert sum(b"fetched lab:small" in each for each in said) == 1


def test_unknown_names_are_corrected_also_in_a_pipeline(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean mae:vit_base"):
        resolve("mae:vit_bose")
    with pytest.raises(UserError, match="list checkpoints"):
        resolve("nobody:has_this")
    file = {"encoders": {"mae": {"ref": "mae:vit_bose"}}, "tasks": {"digits": {"data": "data/digits"}}}
    (tmp_path / "pipeline.yaml").write_text(json.dumps({"name": "x", "baseline": "mae", **file}))
    with pytest.raises(UserError, match=r"encoders.mae.ref: encoder = mae:vit_bose(.|\n)*Did you mean mae:vit_base"):
        load_pipeline(tmp_path / "pipeline.yaml")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("address", "http://example.org/x.pth", "https://"),
        ("address", "file:///etc/passwd", "https://"),
        ("address", "https://example.org/a b.pth", "https://"),
        ("file", "../x.pth", "a name of letters"),
        ("file", ".bashrc", "a name of letters"),
        ("digest", "sha256:XYZ", "digits"),
        ("digest", "sha1:abcdef12", "sha256"),
        ("surprise", "1", "no such field"),
    ],
)
def test_rows_that_break_a_rule(served: Served, tmp_path: Path, field: str, value: str, said: str) -> None:
    catalogue(tmp_path, served, **{"digest": None, field: value})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=said):
        load_checkpoints()


@pytest.mark.parametrize("name", ["timm:x", "hf-hub:x", "random:x", "Lab:x", "lab:../x", "lab:", "lab:a/b", "file:x"])
def test_names_that_mean_something_else(served: Served, tmp_path: Path, name: str) -> None:
    catalogue(tmp_path, served, None)
    text = (tmp_path / "catalogue.yaml").read_text()
    (tmp_path / "catalogue.yaml").write_text(text.replace("lab:small", name))
    with pytest.raises(UserError, match="METHOD:NAME"):
        load_checkpoints()


def test_every_shipped_row_names_an_architecture_and_ends_in_its_digest() -> None:
    """Names are timm's or ours; where a file's own name ends in digits of its sha256, these are what is verified."""
    import timm

    from benchmarks.config import recipe_names

    shipped = load_checkpoints()
    assert len(shipped) >= 60
    known = {*timm.list_models(), *recipe_names("encoders")}
    assert [each.name for each in shipped.values() if each.architecture not in known] == []
    for each in shipped.values():
        in_name = re.search(r"-([0-9a-f]{8})\.pth$", each.file_name)
        if in_name:
            assert each.digest == Digest(algorithm="sha256", digits=in_name[1]), each.name
    assert {each.name for each in shipped.values() if not each.published and each.method != "ijepa"} == set()


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("mae:vit_base", {("imagenet1k", "finetune", "83.57"), ("imagenet1k", "linear", "67.8")}),
        ("simmim:swin_base", {("imagenet1k", "finetune", "84.0")}),
        ("dinov2:vit_base", {("imagenet1k", "knn", "82.1"), ("imagenet1k", "linear", "84.5")}),
        ("dinov2:vit_base_reg4", {("imagenet1k", "knn", "82.0"), ("imagenet1k", "linear", "84.6")}),
        ("deit:vit_base", {("imagenet1k", "finetune", "81.8")}),
    ],
)
def test_what_authors_report_is_found_in_the_references(name: str, scores: set[tuple[str, str, str]]) -> None:
    """Numbers as the READMEs of facebookresearch/mae, microsoft/SimMIM, facebookresearch/dinov2 and deit show them."""
    checkpoint: Checkpoint = find_checkpoint(name)
    assert scores <= {(each.task, each.protocol, str(each.value)) for each in checkpoint.published}


def test_the_list_needs_no_torch_and_gives_everything_as_json() -> None:
    code = "import sys, mimbench; mimbench.main(sys.argv[1:]); assert not {'torch', 'timm'} & sys.modules.keys()"
    command = [sys.executable, "-c", code, "list", "checkpoints", "--method", "mae", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert {each["method"] for each in found.values()} == {"mae"}
    assert found["mae:vit_base"]["address"] == "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth"
    assert found["mae:vit_base"]["digest"] == {"algorithm": "md5", "digits": "8cad7c"}
    assert found["mae:vit_base"]["licence"] == "CC-BY-NC-4.0"
    assert found["mae:vit_base"]["published"][0]["value"] == "83.57"


@pytest.mark.usefixtures("served")
def test_weights_are_those_of_the_file(weights: bytes) -> None:
    tensors = torch.load(io.BytesIO(weights), weights_only=True)["model"]
    assert resolve("lab:small").use.sha256 == weights_sha256(tensors)
