"""`mimbench data pack`: what other readers find in its shards, and what is left when it is broken off or lied to."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import webdataset
from PIL import Image

import mimbench
from benchmarks.subset import listed
from tests.support import small
from tests.support.disk import grow, small_disk
from tests.support.runs import numbers_of, only_run, record_of


@pytest.fixture(autouse=True)
def _caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pack(source: Path | str, to: Path, *more: str) -> int:
    return mimbench.main(["data", "pack", str(source), str(to), *more])


def shards(folder: Path, name: str = "train") -> list[Path]:
    return sorted(folder.glob(f"{name}-*.tar"))


def contents(folder: Path, name: str = "train") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in shards(folder, name)}


def read_by_webdataset(folder: Path) -> Iterator[dict[str, bytes | str]]:
    yield from webdataset.WebDataset([str(path) for path in shards(folder)], shardshuffle=False, empty_check=False)


def test_webdataset_and_tarfile_find_every_image_with_its_class(small_digits: Path, tmp_path: Path) -> None:
    assert pack(small_digits / "train", tmp_path / "to", "--shard-images", "7", "--verify") == 0
    files = {
        str(path.relative_to(small_digits / "train").with_suffix("")): path for path in small_digits.glob("train/*/*")
    }
    found = list(read_by_webdataset(tmp_path / "to"))
    assert {str(each["__key__"]): each["png"] for each in found} == {
        key: path.read_bytes() for key, path in files.items()
    }
    assert all(int(each["cls"]) == int(str(each["__key__"]).split("/")[0]) for each in found)
    assert [str(each["__key__"]) for each in found] != sorted(files)
    sizes = []
    for path in shards(tmp_path / "to"):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
        sizes.append(len(members) // 2)
    assert sizes == [7] * 5 + [5]
    said = json.loads((tmp_path / "to" / "train.json").read_text())
    assert (said["images"], said["per_class"], said["source"]["classes"]) == (40, [4] * 10, [*"0123456789"])


def test_the_same_input_gives_the_same_bytes_and_another_seed_another_order(small_digits: Path, tmp_path: Path) -> None:
    shutil.copytree(small_digits / "train", tmp_path / "elsewhere" / "train")
    for to, source, seed in (("a", small_digits, 3), ("b", tmp_path / "elsewhere", 3), ("c", small_digits, 4)):
        assert pack(source / "train", tmp_path / to, "--shard-mb", "0.02", "--seed", str(seed)) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")
    assert all(path.stat().st_size <= 20_000 for path in shards(tmp_path / "a"))
    assert len(shards(tmp_path / "a")) > 3


@pytest.mark.parametrize("when", ["before a shard has its name", "before it is noted"])
def test_after_kill_9_the_same_command_goes_on(small_digits: Path, tmp_path: Path, when: str) -> None:
    command = (small_digits / "train", tmp_path / "to", "--shard-images", "6")
    if (child := os.fork()) == 0:
        replace = os.replace

        def killed(old: Path, new: Path) -> None:
            if Path(new).name == "train-000003.tar":
                if when == "before it is noted":
                    replace(old, new)
                os.kill(os.getpid(), signal.SIGKILL)
            replace(old, new)

        os.replace = killed  # type: ignore[assignment]
        os._exit(pack(*command))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    finished = {path: path.stat().st_ino for path in shards(tmp_path / "to")[:3]}
    assert len(finished) == 3
    assert any(tmp_path.glob("to/.*.tmp")) == (when == "before a shard has its name")
    (tmp_path / "to" / ".train.json.0123abcd.tmp").touch()
    (tmp_path / "to" / ".train-val-000000.tar.0123abcd.tmp").touch()  # of another process, which is at work
    assert pack(*command, "--verify") == 0
    assert {path: path.stat().st_ino for path in finished} == finished
    assert [path.name for path in tmp_path.glob("to/.*.tmp")] == [".train-val-000000.tar.0123abcd.tmp"]
    assert pack(small_digits / "train", tmp_path / "at once", "--shard-images", "6") == 0
    assert contents(tmp_path / "to") == contents(tmp_path / "at once")


def test_verify_names_what_changed_and_a_removed_shard_is_written_again(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.data.fingerprint.CONTENT_LIMIT_BYTES", 0)  # as of a large data set: names and sizes
    command = (small_digits / "train", tmp_path / "to", "--shard-images", "10", "--verify")
    assert pack(*command) == 0
    whole = contents(tmp_path / "to")
    damaged = tmp_path / "to" / "train-000002.tar"
    damaged.write_bytes(whole[damaged.name][:700] + b"?" + whole[damaged.name][701:])
    assert pack(*command) == mimbench.FAILED
    assert "train-000002.tar: its bytes changed after it was written" in capsys.readouterr().err
    damaged.unlink()
    assert pack(*command) == 0
    assert contents(tmp_path / "to") == whole
    image = min(small_digits.glob("train/3/*"))
    image.write_bytes(image.read_bytes()[:-4] + b"\0\0\0\0")  # the checksum of the end mark, which Pillow passes over
    assert pack(*command) == mimbench.FAILED
    assert "its images are not those of the source" in capsys.readouterr().err


def test_other_images_or_options_than_it_was_begun_with_are_refused(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack(small_digits / "train", tmp_path / "to") == 0
    before = contents(tmp_path / "to")
    assert pack(small_digits / "train", tmp_path / "to", "--seed", "5") == mimbench.WRONG
    assert "the seed with which it was begun (0), not 5" in capsys.readouterr().err
    next(small_digits.glob("train/3/*")).unlink()
    assert pack(small_digits / "train", tmp_path / "to") == mimbench.WRONG
    assert "the fingerprint with which it was begun" in capsys.readouterr().err
    (tmp_path / "to" / "train.json").unlink()
    assert pack(small_digits / "train", tmp_path / "to") == mimbench.WRONG
    assert "no shards of the name train that were made otherwise" in capsys.readouterr().err
    assert contents(tmp_path / "to") == before


def test_a_damaged_image_is_named_and_refused_skipped_or_kept(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = min(small_digits.glob("train/3/*"))
    image.write_bytes(image.read_bytes()[:60])
    assert pack(small_digits / "train", tmp_path / "refused") == mimbench.FAILED
    assert f"damaged image {image}: " in capsys.readouterr().err
    assert pack(small_digits / "train", tmp_path / "skipped", "--damaged", "skip", "--verify") == 0
    assert f"skipped: 3/{image.name}: " in capsys.readouterr().out
    said = json.loads((tmp_path / "skipped" / "train.json").read_text())
    assert (said["images"], said["per_class"][3]) == (39, 3)
    assert pack(small_digits / "train", tmp_path / "kept", "--damaged", "keep", "--verify") == 0
    assert image.read_bytes() in [each["png"] for each in read_by_webdataset(tmp_path / "kept")]


def test_a_full_disk_is_said_and_the_same_command_goes_on(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        folder = small_digits / "large" / "one"
        folder.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (150, 150), os.urandom(67500)).save(folder / f"{number}.png")
    with small_disk(tmp_path / "disk", 2) as disk:
        command = (small_digits / "large", disk / "to", "--shard-mb", "0.5", "--no-shuffle")
        assert pack(*command) == mimbench.FAILED
        assert "no room to write" in capsys.readouterr().err
        assert 0 < len(shards(disk / "to", "large")) < 5
        grow(disk, 8)
        assert pack(*command, "--verify") == 0
        assert sorted(path.name for path in (disk / "to").iterdir() if path.suffix == ".tmp") == []


def test_larger_images_get_the_short_side_and_others_keep_their_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn to the right
    for name, size in (("wide.jpg", (90, 60)), ("small.jpg", (40, 24)), ("scan.bmp", (20, 30))):
        Image.effect_noise(size, 60).convert("RGB").save(
            folder / name, exif=turned if name == "wide.jpg" else Image.Exif()
        )
    assert pack(folder, tmp_path / "as they are", "--unlabelled") == mimbench.WRONG  # shards hold no BMP
    assert pack(folder, tmp_path / "to", "--unlabelled", "--short-side", "30", "--name", "train", "--verify") == 0
    found = {str(each["__key__"]): each["jpg"] for each in read_by_webdataset(tmp_path / "to")}
    sizes = {key: Image.open(io.BytesIO(data)).size for key, data in found.items()}  # type: ignore[arg-type]
    assert sizes == {"wide": (30, 45), "small": (40, 24), "scan": (20, 30)}
    assert found["small"] == (folder / "small.jpg").read_bytes()


def test_no_name_of_a_file_is_lost(tmp_path: Path) -> None:
    names = ("a.jpg", "a.png", "a.b.jpg", "a%2Eb.jpg", "__c__.jpg", "Ünder.JPEG", "x" * 150 + ".jpg", "a%2Epng.jpg")
    (tmp_path / "in" / "v1.5").mkdir(parents=True)
    for shade, name in enumerate(names):
        kind = "PNG" if name.endswith("png") else "JPEG"
        Image.new("L", (8, 8), 20 * shade).save(tmp_path / "in" / "v1.5" / name, kind)
    assert pack(tmp_path / "in", tmp_path / "to", "--name", "train", "--verify") == 0
    found = [
        next(each[kind] for kind in ("jpg", "jpeg", "png") if kind in each)
        for each in read_by_webdataset(tmp_path / "to")
    ]
    assert sorted(found) == sorted(path.read_bytes() for path in (tmp_path / "in" / "v1.5").iterdir())


def test_a_list_of_files_names_the_same_images_in_shards(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("n01_2.JPEG\nn01_1.JPEG\n")
    assert listed(["s.tar/n01/n01_1.jpeg", "s.tar/n01/n01_2.jpeg", "s.tar/n01/n01_3.jpeg"], file) == [0, 1]


def test_neighbours_on_shards_score_as_on_the_folder(small_digits: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        assert pack(small_digits / split, tmp_path / "to", "--no-shuffle", "--shard-images", "9") == 0
    packed = ["data.train_split=train-*.tar", "data.test_split=test-*.tar", "data.classes=train.json"]
    found = []
    for root, splits in ((small_digits, []), (tmp_path / "to", packed)):
        command = ["transfer", "digits", "--recipe", "digits_knn", *small.RANDOM, f"data.root={root}", *splits]
        assert mimbench.main([*command, "k=5", "other_k=[]", "--runs", str(tmp_path / f"of {root.name}")]) == 0
        found.append(record_of(only_run(tmp_path / f"of {root.name}")).metrics)
    assert found[0] == found[1]


def test_pretraining_on_shards_has_the_losses_of_the_folder(small_digits: Path, tmp_path: Path) -> None:
    assert pack(small_digits / "unlabelled", tmp_path / "to", "--no-shuffle", "--unlabelled") == 0
    losses = []
    for root, split in ((small_digits, "unlabelled"), (tmp_path / "to", "unlabelled-*.tar")):
        command = [*small.pretraining(root), f"data.split={split}", "validation=null", "training.workers=0"]
        assert mimbench.main([*command, "--runs", str(tmp_path / f"of {root.name}")]) == 0
        losses.append([line.get("loss") for line in numbers_of(only_run(tmp_path / f"of {root.name}"))])
    assert losses[0] == losses[1]
    assert len(losses[0]) > 3


def test_a_folder_is_not_packed_into_itself(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "train"
    shutil.copytree(small_digits / "train", source)
    for to in (source, source / "shards"):
        assert pack(source, to) == mimbench.WRONG
        assert "a folder outside SOURCE" in capsys.readouterr().err
    assert not list(source.rglob("*.tar"))


def test_the_remedy_for_a_damaged_first_image_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no image comes first; with nothing packed yet, --damaged skip goes on in the same folder."""
    for name in ("one", "two"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / name / "fine.png")
    (tmp_path / "data" / "one" / "bad.png").write_text("no image")
    assert pack(tmp_path / "data", tmp_path / "to", "--no-shuffle") == mimbench.FAILED
    assert "--damaged skip" in capsys.readouterr().err
    assert pack(tmp_path / "data", tmp_path / "to", "--no-shuffle", "--damaged", "skip") == 0
    assert "2 images in 1 shard" in capsys.readouterr().out
