"""Data folders copied to a node: once, whole, over nobody's files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.errors import UserError, WorkFailed
from slurm.stage import staging
from slurm.stage.staging import PROOF, staged, with_local_data


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(20):
        folder = tmp_path / "source" / str(number % 3)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(bytes([number]) * 1000)
    return tmp_path / "source"


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != PROOF]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_only_the_folders_named_are_replaced_by_their_copies(source: Path, tmp_path: Path) -> None:
    place = tmp_path / "local" / "copy"
    argv = ["transfer", "digits", "data.root=/elsewhere", f"data.root={source}"]
    assert with_local_data(argv, {str(source): str(place)}) == [*argv[:3], f"data.root={place}"]
    assert content(place) == content(source)


def test_a_whole_copy_is_not_made_again_and_an_unfinished_one_is_completed(source: Path, tmp_path: Path) -> None:
    place = staged(source, tmp_path / "copy")
    (source / "0" / "0.png").write_bytes(b"later")
    staged(source, place)
    assert content(place)["0/0.png"] == bytes(1000)
    (place / PROOF).unlink()
    (place / "1" / "1.png").unlink()
    staged(source, place)
    assert content(place) == content(source)


def test_stages_that_come_at_once_copy_once(source: Path, tmp_path: Path) -> None:
    code = (
        f"from pathlib import Path; from slurm.stage.staging import staged; staged(Path({str(source)!r}), Path('copy'))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=180)[0] for process in started]
    assert sum("copying" in text for text in said) == 1
    assert content(tmp_path / "copy") == content(source)


def test_nobody_s_files_are_overwritten(source: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="an empty place"):
        staged(source, place)
    other = staged(source / "0", tmp_path / "other")
    with pytest.raises(UserError, match="this is one of"):
        staged(source / "1", other)
    with pytest.raises(UserError, match="a folder that exists"):
        staged(tmp_path / "none", place)


def test_a_node_without_room_is_named_before_anything_is_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = staging.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with pytest.raises(WorkFailed, match="no room to copy"):
        staged(source, tmp_path / "copy")
    assert content(tmp_path / "copy") == {}


def test_a_copied_file_is_not_written_through_a_link_that_somebody_put_there(source: Path, tmp_path: Path) -> None:
    victim, place = tmp_path / "victim", tmp_path / "copy"
    victim.write_bytes(b"somebody's")
    (place / "0").mkdir(parents=True)
    (place / "0" / ".0.png.part").symlink_to(victim)
    (tmp_path / ".copy.source").write_text(str(source))  # an unfinished copy, which is taken up again
    staged(source, place)
    assert content(place) == content(source)
    assert victim.read_bytes() == b"somebody's"


def test_the_mark_of_a_copy_is_not_written_through_a_link(source: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"somebody's")
    (tmp_path / ".copy.source").symlink_to(victim)
    staged(source, tmp_path / "copy")
    assert victim.read_bytes() == b"somebody's"
