"""Nothing is sent unless it is asked for, then exactly what is listed, and privately unless that is asked for, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.transfer.publish.hub import Hub, serving
from tests.transfer.publish.test_publish import publish

TOKEN = "hf_" + "s" * 34


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as found:
        monkeypatch.setattr("transfer.publish.push.HfApi", lambda: HfApi(endpoint=found.address, token=TOKEN))
        yield found


def test_without_push_and_in_a_dry_run_nothing_is_asked(
    hub: Hub, simmim_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(simmim_run, tmp_path / "out") == 0
    assert publish(simmim_run, tmp_path / "out", "--push", "my-lab/encoder", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "would go to my-lab/encoder (private)" in said
    assert all(name in said for name in ("README.md", "config.json", "model.safetensors", "mimbench.json"))
    assert hub.asked == []


def test_exactly_what_is_listed_goes_to_a_private_repository(
    hub: Hub, simmim_run: Path, finetuned_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert publish(simmim_run, out) == 0
    (out / "notes.txt").write_text("mine, not to be sent")
    assert publish(simmim_run, out, "--push", "my-lab/encoder", "--runs", str(finetuned_run.parent)) == 0
    assert hub.private == {"my-lab/encoder": True}
    sent = {name: (out / name).read_bytes() for name in hub.files}
    assert hub.files == sent
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert set(sent) == files - {"notes.txt"}
    assert b"https://huggingface.co/my-lab/encoder/blob/main/runs/" in sent["README.md"]
    assert b'create_model("hf-hub:my-lab/encoder"' in sent["README.md"]
    said = capsys.readouterr()
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert TOKEN not in said.out + said.err
    assert all(TOKEN.encode() not in data for data in sent.values())


def test_a_repository_that_everybody_sees_needs_to_be_meant(
    hub: Hub, simmim_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.private["my-lab/encoder"] = False
    assert publish(simmim_run, tmp_path / "out", "--push", "my-lab/encoder") == 2
    assert "add --public" in capsys.readouterr().err
    assert hub.files == {}
    assert publish(simmim_run, tmp_path / "out", "--push", "my-lab/encoder", "--public") == 0
    assert "README.md" in hub.files


def test_what_the_hub_refuses_is_said(
    hub: Hub, simmim_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refuses = 403
    assert publish(simmim_run, tmp_path / "out", "--push", "my-lab/encoder") == 1
    said = capsys.readouterr().err
    assert "was not uploaded" in said
    assert "hf auth login" in said
    assert (tmp_path / "out" / "README.md").exists()
