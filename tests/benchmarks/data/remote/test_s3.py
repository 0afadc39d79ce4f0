"""Shards behind s3://, read by s3fs from moto's server on this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

import mimbench
from benchmarks.data.remote import access
from benchmarks.errors import MachineFailed, UserError
from tests.benchmarks.data.remote.test_remote import SPLIT, bytes_of, mark, read
from tests.support import small
from tests.support.libraries import library
from tests.support.ports import free_ports
from tests.support.runs import only_run, record_of
from tests.transfer.images.forms import as_shards

server = library("moto.server", "moto")
s3fs = library("s3fs", "s3fs")
boto3 = library("boto3", "moto")

SECRET = "a-secret-that-nobody-may-read"
ROOT = "s3://bucket/digits"


class Wire:
    """A way to the server that is cut after some bytes of an answer, as often as `cuts` says."""

    def __init__(self, to: int) -> None:
        (self.port,) = free_ports(1)
        self.cuts, self._to = 0, to
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._join, args=(self._listening.accept()[0],), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        there = socket.create_connection(("127.0.0.1", self._to))
        threading.Thread(target=self._pass_on, args=(client, there, False), daemon=True).start()
        self._pass_on(there, client, True)

    def _pass_on(self, source: socket.socket, to: socket.socket, may_cut: bool) -> None:
        with contextlib.suppress(OSError), source, to:
            while part := source.recv(65536):
                cut = may_cut and self.cuts > 0 and len(part) > 1000  # an answer with a shard's bytes
                self.cuts -= cut
                to.sendall(part[: 900 if cut else None])
                if cut:
                    to.shutdown(socket.SHUT_RDWR)
                    return

    def close(self) -> None:
        self._listening.close()


@pytest.fixture(scope="module")
def bucket(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Wire]]:
    """The folder of six shards that also lie in the bucket, and the way there."""
    folder = tmp_path_factory.mktemp("s3")
    as_shards(small.cut_digits(digits, folder / "cut"), folder / "shards")
    (port,) = free_ports(1)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=port)
    running.start()
    here = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    client: Any = boto3.client("s3", aws_access_key_id="one", aws_secret_access_key=SECRET, **here)
    for name, allowed in (("bucket", "private"), ("open", "public-read")):
        client.create_bucket(Bucket=name)
        for file in sorted((folder / "shards").glob("*.tar")):
            client.upload_file(str(file), name, f"digits/{file.name}", ExtraArgs={"ACL": allowed})
    wire = Wire(port)
    yield folder / "shards", wire
    wire.close()
    running.stop()


@pytest.fixture(autouse=True)
def _settings(bucket: tuple[Path, Wire], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """botocore's own variables say where the server is and who asks."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    settings = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{bucket[1].port}", "AWS_EC2_METADATA_DISABLED": "true"}
    settings |= {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_CONFIG_FILE": str(tmp_path / "none")}
    settings |= {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(access, "FIRST_WAIT_S", 0.001)
    access.state_of.cache_clear()
    yield
    bucket[1].cuts = 0
    s3fs.S3FileSystem.clear_instance_cache()


def test_images_and_fingerprint_are_those_of_the_same_files_here(bucket: tuple[Path, Wire], tmp_path: Path) -> None:
    here, there = read(bucket[0], tmp_path), read(ROOT, tmp_path)
    assert bytes_of(there) == bytes_of(here)
    assert mark(there) == mark(here)


def test_a_pretraining_reads_them_and_its_record_holds_no_secret(tmp_path: Path) -> None:
    words = [f"data.root={ROOT}", f"data.split={SPLIT}", "validation=null", "training.workers=1", "training.epochs=2"]
    command = [word for word in small.pretraining(tmp_path) if not word.startswith("data.root")]
    assert mimbench.main([*command, *words, "--runs", str(tmp_path / "runs")]) == 0
    run = only_run(tmp_path / "runs")
    assert record_of(run).data.images == 40
    assert not [file for file in run.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]


def test_cut_connections_are_outlasted(bucket: tuple[Path, Wire], tmp_path: Path) -> None:
    bucket[1].cuts = 3
    assert bytes_of(read(ROOT, tmp_path)) == bytes_of(read(bucket[0], tmp_path))
    assert bucket[1].cuts == 0


@pytest.mark.parametrize(
    ("root", "changed", "said"),
    [
        ("s3://bucket/letters", {}, r"train-000000.tar \(FileNotFoundError\)"),
        ("s3://missing/digits", {}, r"s3://missing/digits/train-000000.tar \(HTTP 404\)"),
        (ROOT, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, r"\(NoCredentialsError\)"),
        (ROOT, {"AWS_PROFILE": "nobodys"}, r"\(ProfileNotFound\)"),
    ],
    ids=["object", "bucket", "no key", "profile"],
)
def test_what_is_not_there_or_not_ours_is_refused_at_once(
    root: str, changed: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said) as refused:
        read(root, tmp_path)
    assert "check address and split, and the credentials for it" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_server_that_does_not_answer_is_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own patience, within each of our attempts
    with pytest.raises(MachineFailed, match=r"cannot be read: EndpointConnectionError, 6 times") as failed:
        read(ROOT, tmp_path)
    assert SECRET not in str(failed.value)


def test_a_bucket_for_everybody_needs_no_key(
    bucket: tuple[Path, Wire], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsspec's own settings, which it reads from FSSPEC_S3='{"anon": true, ...}' and ~/.config/fsspec at its start."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    conf = {"anon": True, "endpoint_url": f"http://127.0.0.1:{bucket[1].port}"}
    monkeypatch.setitem(fsspec.config.conf, "s3", conf)
    assert len(read("s3://open/digits", tmp_path)) == 40
    with pytest.raises(UserError, match=r"train-000000.tar \(PermissionError\)"):
        read(ROOT, tmp_path)
