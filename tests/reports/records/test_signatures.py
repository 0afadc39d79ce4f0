"""Signed runs, checked by `mimbench report verify`: signed, unsigned, wrongly signed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import mimbench
from reports.records.signatures import SIGNATURE, SIGNED, signature_of
from tests.reports import factory

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path / "key", "alice@lab-a")


def new_key(path: Path, comment: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True)
    return path


def allow(signers: Path, **keys: Path) -> Path:
    """Write a file of allowed signers, as ssh-keygen's manual has it: a principal and a public key on each line."""
    lines = [f"{name} {Path(f'{key}.pub').read_text()}" for name, key in keys.items()]
    signers.write_text("".join(lines))
    return signers


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a folder with runs/ of two encoders and the report/ made from them."""
    for label in ("simmim", "supervised"):
        for seed in range(2):
            factory.write(tmp_path / "runs", factory.transfer(label, seed))
    asked = ["report", "leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--formats", "json"]
    assert mimbench.main(asked) == 0
    return tmp_path


def report(*arguments: object) -> int:
    return mimbench.main(["report", *map(str, arguments)])


def test_signed_unsigned_and_wrongly_signed(study: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simmim = [path.parent for path in study.glob("runs/*/record.json") if '"simmim"' in path.read_text()]
    assert report("verify", study / "report") == 0
    assert "records " not in capsys.readouterr().out
    assert report("sign", *simmim, "--key", key) == 0
    signers = allow(study / "signers", **{"alice@lab-a": key})
    assert report("verify", study / "report", "--signers", signers) == 0
    said = capsys.readouterr().out
    assert "records signed alice@lab-a: 2\n" in said
    assert "records unsigned: 2\n" in said
    assert report("verify", study / "report") == 0
    assert "records signed key SHA256:" in capsys.readouterr().out
    with (simmim[0] / "metrics.jsonl").open("a") as log:
        log.write("\n")  # which no score depends on
    assert report("verify", study / "report", "--signers", signers) == 1
    said, error = capsys.readouterr()
    assert f"record wrongly signed: {simmim[0]}: metrics.jsonl is not what was signed\n" in said
    assert "records signed alice@lab-a: 1\n" in said
    assert "records wrongly signed: 1" in error


def test_a_key_that_nobody_allowed_signs_wrongly(study: Path, key: Path) -> None:
    mallory = new_key(study / "mallory", "alice@lab-a")
    assert report("sign", study / "runs", "--key", mallory) == 0
    signers = allow(study / "signers", **{"alice@lab-a": key})
    folder = next((study / "runs").iterdir())
    found = signature_of(folder, signers)
    assert found.state == "wrongly signed"
    assert "does not have" in found.words
    assert signature_of(folder, None).state == "signed"


def test_a_signature_is_of_these_files_of_this_run_alone(study: Path, key: Path) -> None:
    one, other, *_ = sorted((study / "runs").iterdir())
    assert report("sign", study / "runs", "--key", key) == 0
    shutil.copy(other / SIGNATURE, one / SIGNATURE)
    assert signature_of(one, None).words == f"{SIGNATURE} is no signature of {SIGNED}"
    shutil.copy(other / SIGNED, one / SIGNED)
    assert signature_of(one, None).words.endswith("is not what was signed")
    (other / "predictions.csv").write_text("path,label,predicted\n")
    assert signature_of(other, None).words == "predictions.csv is not what was signed"
    (other / "predictions.csv").unlink()
    assert signature_of(other, None).state == "signed"
    document = json.loads((other / SIGNED).read_text())
    del document["files"]["record.json"]
    (other / SIGNED).write_text(json.dumps(document))
    assert signature_of(other, None).words == f"{SIGNED} does not name record.json"
    (other / SIGNED).unlink()
    assert signature_of(other, None).words == f"{SIGNED} is gone"


def test_a_key_that_cannot_sign_is_a_wrong_request(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report("sign", study / "runs", "--key", study / "nothing") == 2
    assert "--key = " in capsys.readouterr().err
    assert not list((study / "runs").glob(f"*/{SIGNED}"))
    (study / "empty").mkdir()
    assert report("sign", study / "empty", "--key", study / "nothing") == 1
    assert report("verify", study / "report", "--signers", study / "nobody") == 2
