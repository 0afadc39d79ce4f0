"""Shards on a real web server: the same images and fingerprint as here, whatever the server does meanwhile."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

import mimbench
from benchmarks.data.fingerprint import fingerprint
from benchmarks.data.forms.place import Place
from benchmarks.data.forms.shards import ShardedImages, read_shards
from benchmarks.data.remote import access, kept
from benchmarks.data.remote.paths import RemotePath, data_path
from benchmarks.errors import MachineFailed, UserError, WorkFailed
from tests.support import small
from tests.support.runs import only_run, record_of
from tests.support.web import Web, serving
from tests.transfer.images.forms import as_shards

SPLIT = "train-{000000..000005}.tar"


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(access, "FIRST_WAIT_S", 0.001)
    access.state_of.cache_clear()


@pytest.fixture
def web(small_digits: Path, tmp_path: Path) -> Iterator[Web]:
    as_shards(small_digits, tmp_path / "shards")
    with serving(tmp_path / "shards") as running:
        yield running


def read(root: str | Path, tmp_path: Path) -> ShardedImages:
    path = data_path(str(root))
    return read_shards(path, Place(path, SPLIT).some_files(".tar"), "label", tmp_path / "indices").source


def bytes_of(images: ShardedImages) -> list[bytes]:
    found = []
    for position in range(len(images)):
        with images.open(position) as stream:
            found.append(stream.read())
    return found


def mark(images: ShardedImages) -> str:
    return fingerprint(images.root, images.files, images=len(images)).sha256


def whole_files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "mimbench" / "remote").glob("*.whole"))


@pytest.mark.parametrize("gigabytes", ["1", "0", "0.000035"])
def test_images_names_and_fingerprint_are_those_of_the_same_files_here(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gigabytes: str
) -> None:
    """Fetched whole, in parts, and some of both."""
    monkeypatch.setenv(kept.BOUND, gigabytes)
    here, there = read(web.folder, tmp_path), read(web.address, tmp_path)
    assert [there.name(at) for at in range(40)] == [here.name(at) for at in range(40)]
    assert bytes_of(pickle.loads(pickle.dumps(there))) == bytes_of(here)  # noqa: S301 (as a spawned process gets it)
    assert mark(there) == mark(here)
    held = whole_files(tmp_path)
    assert {"1": len(held) == 6, "0": not held, "0.000035": 0 < len(held) < 6}[gigabytes]
    assert sum(path.stat().st_size for path in held) <= float(gigabytes) * 1e9
    assert there.where(0).startswith(f"{web.address}/train-000000.tar/")


def test_a_second_start_reads_no_shard_again(web: Web, tmp_path: Path) -> None:
    first = bytes_of(read(web.address, tmp_path))
    web.gets.clear()
    access.state_of.cache_clear()
    sent = web.sent_bytes
    assert bytes_of(read(web.address, tmp_path)) == first
    assert web.sent_bytes - sent <= 6  # a byte of each, to see whether there are ranges


def test_a_shard_that_changed_there_is_fetched_anew(web: Web, tmp_path: Path) -> None:
    before = bytes_of(read(web.address, tmp_path))
    for one, other in (("0", "5"), ("1", "4")):
        a, b = (web.folder / f"train-00000{number}.tar" for number in (one, other))
        old = a.read_bytes()
        shutil.copy(b, a)
        b.write_bytes(old)
    access.state_of.cache_clear()
    again = bytes_of(read(web.address, tmp_path))
    assert again != before
    assert sorted(again) == sorted(before)
    assert again == bytes_of(read(web.folder, tmp_path))


@pytest.mark.parametrize("gigabytes", ["1", "0"])
def test_refusals_and_broken_connections_are_outlasted(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gigabytes: str
) -> None:
    monkeypatch.setenv(kept.BOUND, gigabytes)
    web.refusals = 3
    images = read(web.address, tmp_path)
    web.cuts = 3
    assert bytes_of(images) == bytes_of(read(web.folder, tmp_path))
    said = capsys.readouterr().err
    assert "HTTP 503; again in" in said
    assert len(whole_files(tmp_path)) == (6 if gigabytes == "1" else 0)


def test_a_connection_that_always_breaks_is_the_machine_and_leaves_nothing_half(web: Web, tmp_path: Path) -> None:
    web.cuts = 10**6
    with pytest.raises(
        MachineFailed, match=r"/train-000000.tar cannot be read: .*, 6 times\n  remedy: the same command"
    ):
        read(web.address, tmp_path)
    assert [
        path.suffix for path in (tmp_path / "cache" / "mimbench" / "remote").iterdir() if path.suffix != ".lock"
    ] == []
    web.cuts = 0
    assert len(read(web.address, tmp_path)) == 40


def test_without_ranges_shards_are_fetched_whole_or_refused(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.ranges = False
    assert bytes_of(read(web.address, tmp_path)) == bytes_of(read(web.folder, tmp_path))
    monkeypatch.setenv(kept.BOUND, "0.00001")
    with pytest.raises(UserError, match=r"on a server that gives parts of files, or with room"):
        read(web.address, tmp_path)


def test_exit_codes_of_a_run(web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        *small.pretraining(Path("x")),
        f"data.split={SPLIT}",
        "validation=null",
        "--runs",
        str(tmp_path / "runs"),
    ]
    assert mimbench.main([*command, f"data.root={web.address}/nowhere"]) == mimbench.WRONG
    assert f"data.root = {web.address}/nowhere/train-000000.tar (HTTP 404)" in capsys.readouterr().err
    assert mimbench.main([*command, "data.root=gopher://host/x"]) == mimbench.WRONG
    assert "an address that fsspec knows" in capsys.readouterr().err
    assert mimbench.main([*command, f"data.root={web.address}/{SPLIT}"]) == mimbench.WRONG
    assert f"remedy: data.root={web.address} data.split={SPLIT}" in capsys.readouterr().err
    web.status = 500
    assert mimbench.main([*command, f"data.root={web.address}"]) == mimbench.MACHINE
    assert "HTTP 500, 6 times" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 2])
def test_a_network_that_fails_in_a_training_is_the_machine(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    monkeypatch.setenv(kept.BOUND, "0")
    web.good_gets = 40
    overrides = [f"data.root={web.address}", f"data.split={SPLIT}", f"training.workers={workers}", "validation=null"]
    command = [*small.pretraining(Path("x")), *overrides, "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == mimbench.MACHINE
    said = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"failed: {web.address}/train-00000") for line in said)
    assert not any("Traceback" in line or "unreadable" in line for line in said)
    record = record_of(only_run(tmp_path / "runs"))
    assert record.status != "completed"
    web.good_gets = None
    assert mimbench.main(command) == 0


def test_a_training_over_the_web_ends_as_the_one_from_disk(web: Web, tmp_path: Path) -> None:
    for name, root in (("disk", web.folder), ("web", web.address)):
        overrides = [f"data.root={root}", f"data.split={SPLIT}", "training.workers=2", "validation=null"]
        command = [*small.pretraining(Path("x")), *overrides, "--runs", str(tmp_path / name)]
        assert mimbench.main(command) == 0
    one, other = (record_of(only_run(tmp_path / name)) for name in ("disk", "web"))
    assert one.exported_sha256 == other.exported_sha256
    assert one.run_id == other.run_id
    assert other.data.root == web.address


@pytest.mark.parametrize("secret", ["http://me:hush@host/x", "https://host/x?X-Amz-Signature=hush", "s3://me:hush@b/x"])
def test_credentials_in_an_address_are_refused_and_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], secret: str
) -> None:
    command = [*small.pretraining(Path("x")), f"data.root={secret}", "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == mimbench.WRONG
    assert mimbench.main([*command, "--print"]) == mimbench.WRONG
    said = capsys.readouterr()
    assert "hush" not in said.err + said.out
    assert "an address without a" in said.err
    assert not (tmp_path / "runs").exists()


def test_the_signed_address_to_which_a_server_leads_is_never_shown(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web.redirect_to = "?X-Signature=hush"
    images = read(web.address, tmp_path)
    web.status = 403
    access.state_of.cache_clear()
    with pytest.raises(UserError) as caught:
        read(web.address, tmp_path)
    assert "hush" not in f"{caught.value}{capsys.readouterr()}{images.where(0)}"
    assert all(b"hush" not in path.read_bytes() for path in tmp_path.glob("indices/*"))


def test_what_was_not_used_for_longest_makes_room_and_a_dead_process_leaves_none_taken(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = read(web.address, tmp_path)
    first = images.shards[0]
    assert isinstance(first, RemotePath)
    sizes = [path.stat().st_size for path in sorted(web.folder.glob("train-*.tar"))]
    folder = tmp_path / "cache" / "mimbench" / "remote"
    shutil.rmtree(folder)
    monkeypatch.setenv(kept.BOUND, str((sizes[0] + sizes[1] + sizes[2]) / 1e9))
    states = [(path, access.state_of(path)) for path in images.shards if isinstance(path, RemotePath)]
    for at in (0, 1, 2):
        with kept.opened(*states[at]) or pytest.fail("no room"):
            pass
        (newest,) = [path for path in whole_files(tmp_path) if path.stat().st_mtime > time.time() - 1e8]
        os.utime(newest, (0, 10**9 + at))  # used long ago, one after the other
    with kept.opened(*states[0]) or pytest.fail("no room"):  # and the first once more
        pass
    (folder / f"{'0' * 64}.{10**9}.dead.partial").write_bytes(b"half")  # of a process that was killed
    with kept.opened(*states[3]) or pytest.fail("no room"):
        pass
    assert {path.stat().st_size for path in whole_files(tmp_path)} <= set(sizes)
    assert sum(path.stat().st_size for path in whole_files(tmp_path)) <= sum(sizes[:3])
    assert not list(folder.glob("*.partial"))
    web.gets.clear()
    for at, again in ((0, 0), (1, 1)):
        with kept.opened(*states[at]) or pytest.fail("no room"):
            pass
        assert web.gets[f"/train-00000{at}.tar"] == again


def test_processes_that_want_one_shard_fetch_it_once(web: Web, tmp_path: Path) -> None:
    path = RemotePath(f"{web.address}/train-000000.tar")
    children = []
    for _ in range(4):
        if (child := os.fork()) == 0:
            with kept.opened(path, access.state_of(path)) or pytest.fail("no room") as file:
                os._exit(0 if file.read() == (web.folder / "train-000000.tar").read_bytes() else 1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert web.sent_bytes <= path_size(web) + 4
    assert len(whole_files(tmp_path)) == 1


def path_size(web: Web) -> int:
    return (web.folder / "train-000000.tar").stat().st_size


def test_a_full_disk_is_said(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.disk import small_disk

    with small_disk(tmp_path / "disk", 1) as disk:
        (disk / "filler").write_bytes(bytes(2**20 - 2**14))
        monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
        with pytest.raises(WorkFailed, match="no room to write"):
            read(web.address, tmp_path)


def test_shards_elsewhere_are_packed_anew(web: Web, tmp_path: Path) -> None:
    command = ["data", "pack", f"{web.address}/{SPLIT}", str(tmp_path / "to"), "--name", "train", "--no-shuffle"]
    assert mimbench.main([*command, "--verify"]) == 0
    again = read_shards(tmp_path / "to", [tmp_path / "to" / "train-000000.tar"], "label", tmp_path / "indices")
    assert bytes_of(again.source) == bytes_of(read(web.folder, tmp_path))
    assert again.labels == [label for label in range(10) for _ in range(4)]


def test_memory_and_file_addresses_and_wildcards(web: Web, tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    for path in web.folder.glob("train-*.tar"):
        files.pipe_file(f"/some/{path.name}", path.read_bytes())
    try:
        root = data_path("memory://some")
        assert Place(root, "train-*.tar").some_files(".tar") == [root / f"train-00000{at}.tar" for at in range(6)]
        assert bytes_of(read("memory://some", tmp_path)) == bytes_of(read(web.folder, tmp_path))
    finally:
        files.rm("/some", recursive=True)
    assert data_path(f"file://{web.folder}") == web.folder
    assert type(data_path(f"file://{web.folder}")) is type(Path())
